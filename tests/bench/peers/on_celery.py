"""Celery on RabbitMQ: a task per step, and no record of the saga nor of what was done before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from infra.dev.rabbitmq import RabbitMQ
from tests.bench.peers.driving import Driver
from tests.bench.peers.house import house
from tests.bench.peers.installing import Say, peers_python
from tests.bench.workload import Workload

NAME: Final = "Celery"
_WORKERS: Final = 1
_POOL: Final = "prefork"
_CONCURRENCY: Final = 2
_PREFETCH: Final = 4
_APPLICATION: Final = ("-A", "tests.bench.peers.celery_application:application")
_ALONE: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@asynccontextmanager
async def celery(home: Path, tools: Path, workload: Workload, say: Say) -> AsyncIterator[Driver]:
    """Broker, workers and a client, running. `home`: an empty folder; `tools`: where it is or will be installed."""
    rabbitmq = RabbitMQ(home)
    async with house(home, peers_python(tools, say), workload) as made:
        say(f"starting {NAME}: RabbitMQ and {_WORKERS} worker(s), {_POOL}, {_CONCURRENCY} task(s) at a time each")
        try:
            rabbitmq.start()
            made.count("RabbitMQ", rabbitmq.pid)
            environment = {"PEER_RABBITMQ": rabbitmq.url.partition("?")[0], "PEER_PREFETCH": str(_PREFETCH)}
            command = [str(made.python), "-m"]
            worker = ["celery", *_APPLICATION, "worker", *_ALONE, "--pool", _POOL, "--concurrency", str(_CONCURRENCY)]
            parts = [f"worker {number}" for number in range(_WORKERS)]
            for part in parts:
                name = f"{part.replace(' ', '')}@localhost"
                made.start(part, [*command, *worker, "--hostname", name, "--loglevel", "WARNING"], environment)
            for part in parts:
                made.wait_for(part)
            made.start("clients", [*command, "tests.bench.peers.celery_client"], environment)
            made.wait_for("clients")
            yield made.driver(NAME)
        finally:
            # The broker goes last.
            made.stop()
            rabbitmq.stop()
