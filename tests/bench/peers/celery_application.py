"""The Celery application: each step is a task that does one transaction, sends the next task and is then acknowledged."""

import os
from pathlib import Path
from typing import Any, Final

from celery import Celery
from celery.signals import worker_ready

from tests.bench.peers import synchronous as steps

application: Final[Any] = Celery("orders", broker=os.environ["PEER_RABBITMQ"])
application.conf.update(
    # At least once: a task is acknowledged when it is done, and comes again if its process dies.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # The broker has each message on disk before the task that sent it ends.
    broker_transport_options={"confirm_publish": True},
    task_default_delivery_mode="persistent",
    task_default_queue="orders",
    task_default_queue_type="classic",
    worker_prefetch_multiplier=int(os.environ["PEER_PREFETCH"]),
    # What Celery does beside the work, and nobody looks at here.
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_disable_rate_limits=True,
    broker_heartbeat=0,
)


def _create(number: int) -> None:
    steps.create(number)
    _send("reserve_stock", number)


def _reserve_stock(number: int) -> None:
    _send("reserve_quota" if steps.reserve_stock(number) else "reject", number)


def _reserve_quota(number: int) -> None:
    _send("confirm" if steps.reserve_quota(number) else "release_stock", number)


def _confirm(number: int) -> None:
    steps.confirm(number)


def _release_stock(number: int) -> None:
    steps.release_stock(number)
    _send("reject", number)


def _reject(number: int) -> None:
    steps.reject(number)


_TASKS: Final[dict[str, Any]] = {
    does.__name__.removeprefix("_"): application.task(does, name=does.__name__.removeprefix("_"))
    for does in (_create, _reserve_stock, _reserve_quota, _confirm, _release_stock, _reject)
}
create: Final[Any] = _TASKS["create"]
"""The first task of an order."""


def _send(name: str, number: int) -> None:
    _TASKS[name].delay(number)


def _ready(**_: object) -> None:
    Path(os.environ["PEER_READY"]).touch()


# Strongly, since nobody else keeps it.
worker_ready.connect(_ready, weak=False)
