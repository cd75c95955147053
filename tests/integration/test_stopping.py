"""SIGTERM: nothing that a worker had in hand is delivered again, and it ends within its bound whatever its servers do."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from infra.dev.servers import Servers
from tests.integration.messaging import COMMANDS, REPLIES, Stage, a_tenant, levels, parts, reserve
from tests.integration.workers import oaas_worker, worker_process

QUEUE: Final = COMMANDS.routing_key
FRAMES: Final = 3_000
REPLACED: Final = 3
TOGETHER: Final = 200
COUNTED_WITHIN_S: Final = 30.0
"""The broker counts every five seconds."""
STOP_MAX_S: Final = 12.0
BRIEF: Final = {"OAAS_DRAIN_S": "2", "OAAS_CONNECT_TIMEOUT_S": "2", "OAAS_STOP_MAX_S": str(STOP_MAX_S)}
ENDED: Final = (0, 70)


async def test_workers_that_are_replaced_in_the_middle_of_a_backlog_get_nothing_twice(stage: Stage, tmp_path: Path) -> None:
    delivered, acked = await counted(stage)
    async with parts(stage.settings) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=1_000_000)
    asks = [reserve(tenant_id, "APPLE") for _ in range(FRAMES)]
    for first in range(0, FRAMES, TOGETHER):
        await asyncio.gather(*(stage.publish(COMMANDS, ask) for ask in asks[first : first + TOGETHER]))
    # Small batches: each worker is told to stop while a hundred frames are on their way to it.
    for _ in range(REPLACED):
        async with worker_process(oaas_worker("inventory"), stage.settings, tmp_path, OAAS_BATCH_ENVELOPES_MAX="10"):
            await asyncio.sleep(0.3)
    async with worker_process(oaas_worker("inventory"), stage.settings, tmp_path):
        await stage.read(REPLIES, FRAMES)
    [(_, available, held)] = await levels(stage, tenant_id)
    assert (available, held) == (1_000_000 - FRAMES, FRAMES)
    deadline = time.monotonic() + COUNTED_WITHIN_S
    while (now := await counted(stage)) != (delivered + FRAMES, acked + FRAMES):
        assert time.monotonic() < deadline, f"{now[0] - delivered} deliveries and {now[1] - acked} acks of {FRAMES} frames"
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("frozen", ["postgres", "rabbitmq"])
async def test_a_worker_ends_within_its_bound_while_a_server_hangs(stage: Stage, servers: Servers, tmp_path: Path, frozen: str) -> None:
    server = servers.postgres if frozen == "postgres" else servers.rabbitmq
    if server is None or server.pid is None:
        pytest.skip("a server that the environment names is not ours to stop")
    async with parts(stage.settings) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=1_000_000)
    async with worker_process(oaas_worker("inventory"), stage.settings, tmp_path, **BRIEF) as worker:
        await asyncio.gather(*(stage.publish(COMMANDS, reserve(tenant_id)) for _ in range(TOGETHER)))
        with stopped(server.pid):
            began = time.monotonic()
            assert await worker.end() in ENDED, worker.log.read_text()
            assert time.monotonic() - began < STOP_MAX_S + 2


async def counted(stage: Stage) -> tuple[int, int]:
    """Deliveries to consumers of the queue, and their acks, since the broker began to count."""
    found = (await stage.management("GET", f"/api/queues/{stage.vhost}/{QUEUE}")).get("message_stats", {})
    return found.get("deliver", 0), found.get("ack", 0)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process and its children stand still (SIGSTOP), with all connections open."""
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    for each in (pid, *children):
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in (*children, pid):
            os.kill(each, signal.SIGCONT)
