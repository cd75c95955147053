"""What may grow without end on a platform that runs for long: memory, queues, outboxes, inboxes. Looked at now and then."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aio_pika
import asyncpg
from aio_pika.exceptions import AMQPError

from contracts.addresses import PARTICIPANTS, work_queues
from infra.dev.up import Platform
from tests.chaos.watch import OUT_OF_REACH

_SERVICES: Final = (*PARTICIPANTS, "sagas", "ops")
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `memory_mb` by process, resident; -1 where nobody could be asked."""

    at: float
    orders: int
    memory_mb: Mapping[str, float]
    queued: int
    outbox: int
    inbox: int


async def sample(running: Platform, pids: Callable[[], Mapping[str, int]], orders: int) -> Sample:
    """Look once; what is out of reach is -1."""
    memory = await asyncio.to_thread(_memory, pids())
    return Sample(time.monotonic(), orders, memory, await _queued(running), *await _rows(running))


def _memory(pids: Mapping[str, int]) -> dict[str, float]:
    command = ["ps", "-o", "pid=,rss=", "-p", ",".join(str(pid) for pid in pids.values())]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    resident = dict(zip(map(int, told[::2]), map(int, told[1::2]), strict=True))
    return {name: round(resident[pid] / 1024, 1) for name, pid in pids.items() if pid in resident}


async def _queued(running: Platform) -> int:
    with suppress(AMQPError, OSError, TimeoutError):
        async with asyncio.timeout(_TIMEOUT_S), await aio_pika.connect(running.servers.rabbitmq_url) as connection:
            channel = await connection.channel()
            found = [(await channel.declare_queue(queue, passive=True)).declaration_result.message_count or 0 for queue in work_queues()]
            return sum(found)
    return -1


async def _rows(running: Platform) -> tuple[int, int]:
    with suppress(*OUT_OF_REACH):
        connection = await asyncpg.connect(running.servers.postgres_url, timeout=_TIMEOUT_S)
        try:
            counts = []
            for table in ("outbox", "inbox"):
                parts = " + ".join(f"(SELECT count(*) FROM {service}.{table})" for service in _SERVICES)
                counts.append(int(await connection.fetchval(f"SELECT {parts}", timeout=_TIMEOUT_S)))
            return counts[0], counts[1]
        finally:
            connection.terminate()
    return -1, -1
