"""Coordinators of sagas made for tests, as processes of their own: `python -m tests.integration.coordinators NAME...`.

The sagas ask the real commands, so that the real coordinator, timers and broker run them; the participants are simulated.
"""

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import uvloop

from contracts.inventory import OutOfStock, ReleaseStock, ReserveStock
from contracts.orders import ApproveOrder, MarkOrderCancelled, OrderCancelled, OrderCancelRequested, OrderPlaced, RejectOrder
from contracts.payments import AuthorisePayment, PaymentRefused, ReturnPayment
from contracts.tenants import QuotaExceeded, ReleaseQuota, ReserveQuota, TenantSuspended
from contracts.values import PaymentToken, Rejection
from infra.service import Running, Service
from infra.settings import Settings
from infra.telemetry import configure
from infra.worker import Worker
from sagas.engine.coordinator import Coordinator
from sagas.engine.deadlines import Deadlines
from sagas.engine.definition import Retry, Saga, Step, parallel
from tests.integration.workers import WorkerProcess, worker_process

PAUSE: Final = Retry(attempts=1_000, first=timedelta(minutes=1), factor=1, on=(PaymentRefused,))
"""As an outage of somebody else's has it: tried again every minute, as by default after some tries."""
SHORT_PAUSE: Final = Retry(attempts=1_000, first=timedelta(seconds=2), factor=1, on=(PaymentRefused,))
_LONG: Final = timedelta(hours=2)
_WHY: Final[dict[str, Any]] = {"no_answer": Rejection.NO_ANSWER, "fault": Rejection.FAULT, "cancelled": Rejection.CANCELLED}

_RESERVE_STOCK: Final = Step[OrderPlaced, Rejection](
    name="reserve-stock",
    ask=lambda order, so_far: ReserveStock(order_id=order.order_id, shop_id=order.shop_id, lines=order.lines),
    undo=lambda order, so_far: ReleaseStock(order_id=order.order_id),
    refusals={OutOfStock: Rejection.OUT_OF_STOCK},
    within=timedelta(seconds=60),
)
_RESERVE_QUOTA: Final = Step[OrderPlaced, Rejection](
    name="reserve-quota",
    ask=lambda order, so_far: ReserveQuota(order_id=order.order_id, amount=order.total, placed_at=order.placed_at),
    undo=lambda order, so_far: ReleaseQuota(order_id=order.order_id),
    refusals={QuotaExceeded: Rejection.OVER_QUOTA, TenantSuspended: Rejection.TENANT_SUSPENDED},
    within=timedelta(seconds=60),
)
_APPROVE: Final = Step[OrderPlaced, Rejection](
    name="approve-order",
    ask=lambda order, so_far: ApproveOrder(order_id=order.order_id),
    refusals={OrderCancelled: Rejection.CANCELLED},
    within=timedelta(seconds=60),
)
QUICK: Final = Saga[OrderPlaced, Rejection](
    name="quick",
    version=1,
    started_by=OrderPlaced,
    steps=(_RESERVE_STOCK,),
    pivot=_APPROVE,
    abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=why),
    **_WHY,
)


def patient(retry: Retry) -> Saga[OrderCancelRequested, Rejection]:
    """A saga that asks for a payment until it is not refused."""
    return Saga(
        name="patient",
        version=1,
        started_by=OrderCancelRequested,
        steps=(
            Step(
                name="pay",
                ask=lambda order, so_far: AuthorisePayment(order_id=order.order_id, amount=1, token=PaymentToken("x")),
                undo=lambda order, so_far: ReturnPayment(order_id=order.order_id),
                refusals={PaymentRefused: Rejection.PAYMENT_REFUSED},
                within=timedelta(seconds=60),
                retry=retry,
            ),
        ),
        pivot=Step(name="mark", ask=lambda order, so_far: MarkOrderCancelled(order_id=order.order_id), within=timedelta(seconds=60)),
        abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=why),
        deadline=_LONG,
        **_WHY,
    )


def errand(version: int, *steps: Any, begins: bool = True) -> Saga[OrderPlaced, Rejection]:
    """A version of the saga `errand`."""
    return Saga(
        name="errand",
        version=version,
        started_by=OrderPlaced,
        steps=steps,
        pivot=_APPROVE,
        abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=why),
        begins=begins,
        **_WHY,
    )


_HOLD_STOCK: Final = Step[OrderPlaced, Rejection](
    name="hold-stock",
    ask=lambda order, so_far: ReserveStock(order_id=order.order_id, shop_id=order.shop_id, lines=order.lines),
    undo=lambda order, so_far: ReleaseStock(order_id=order.order_id),
    refusals={OutOfStock: Rejection.OUT_OF_STOCK},
    within=timedelta(seconds=60),
)
_PAY: Final = Step[OrderPlaced, Rejection](
    name="pay",
    ask=lambda order, so_far: AuthorisePayment(order_id=order.order_id, amount=order.total, token=PaymentToken("x")),
    undo=lambda order, so_far: ReturnPayment(order_id=order.order_id),
    refusals={PaymentRefused: Rejection.PAYMENT_REFUSED},
    within=timedelta(seconds=60),
)
ERRAND_1: Final = errand(1, parallel(_RESERVE_QUOTA, _RESERVE_STOCK))
ERRAND_2: Final = errand(2, _HOLD_STOCK, _PAY)
"""Beside version 1: `reserve-quota` is gone, `pay` is new, and `reserve-stock` is called `hold-stock`."""

_RELEASES: Final[dict[str, tuple[Saga[Any, Any], ...]]] = {
    "timers": (QUICK, patient(PAUSE)),
    "short-timers": (QUICK, patient(SHORT_PAUSE)),
    "old": (ERRAND_1,),
    "ready": (ERRAND_1, replace(ERRAND_2, begins=False)),
    "new": (ERRAND_1, ERRAND_2),
}


def service(sagas: Iterable[Saga[Any, Any]]) -> Service:
    """The service `sagas` with these instead of its own."""
    coordinator = Coordinator(sagas)

    async def watch(running: Running) -> None:
        await Deadlines(coordinator, running).run()

    return Service(name="sagas", handles=lambda _: (coordinator.handles(),), api="sagas.api", background=watch)


@asynccontextmanager
async def coordinating(release: str, settings: Settings, folder: Path, **overrides: str) -> AsyncIterator[WorkerProcess]:
    """A release's coordinator in a process of its own, consuming; ended in any case."""
    command = [sys.executable, "-m", "tests.integration.coordinators", release]
    async with worker_process(command, settings, folder, **overrides) as process:
        yield process


if __name__ == "__main__":
    configure("sagas", Settings())
    uvloop.run(Worker([service(_RELEASES[sys.argv[1]])], Settings()).run())
