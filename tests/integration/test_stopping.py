"""The end of a process: everything that was delivered to it is acked, and it ends within its bound whatever its servers do."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from faststream.rabbit import Channel, RabbitMessage

from infra.broker import close, open_broker
from infra.dev.servers import Servers
from infra.stopping import acks_settled, cancel_consumers
from infra.topology import topology
from tests.integration.messaging import COMMANDS, Stage, a_tenant, parts, reserve, until
from tests.integration.workers import oaas_worker, worker_process

QUEUE: Final = COMMANDS.routing_key
ROUNDS: Final = 8
TOGETHER: Final = 200
TRANSACTION_S: Final = 0.03
COUNTED_WITHIN_S: Final = 30.0
"""The broker counts every five seconds."""
STOP_MAX_S: Final = 12.0
BRIEF: Final = {"OAAS_DRAIN_S": "2", "OAAS_CONNECT_TIMEOUT_S": "2", "OAAS_STOP_MAX_S": str(STOP_MAX_S)}
ENDED: Final = (0, 70)


async def test_a_consumer_that_is_cancelled_in_full_flow_acks_everything_that_was_delivered_to_it(stage: Stage) -> None:
    delivered, acked = await counted(stage)
    flood = asyncio.create_task(publish_for_ever(stage))

    async def is_backlog() -> bool:
        return await stage.waiting(QUEUE) >= ROUNDS * TOGETHER

    await until(is_backlog, lambda: "there is no backlog")
    ids: list[str] = []
    for _ in range(ROUNDS):
        ids += await consume_for_a_moment(stage)
    flood.cancel()
    assert len(set(ids)) == len(ids), "a frame that was acked came again"
    handled = len(ids)
    deadline = time.monotonic() + COUNTED_WITHIN_S
    while (now := await counted(stage)) != (delivered + handled, acked + handled):
        assert time.monotonic() < deadline, f"{now[0] - delivered} deliveries and {now[1] - acked} acks of {handled} handled frames"
        await asyncio.sleep(0.5)


async def publish_for_ever(stage: Stage) -> None:
    while True:
        await asyncio.gather(*(stage.publish(COMMANDS, "{}") for _ in range(TOGETHER)))


async def consume_for_a_moment(stage: Stage) -> list[str]:
    """As a worker does: a subscriber that only takes, somebody else who acks; told to stop while messages come in. Ids of what it acked."""
    broker = open_broker(stage.settings)
    taken: asyncio.Queue[RabbitMessage | None] = asyncio.Queue()

    @broker.subscriber(topology.work_queue(QUEUE), channel=Channel(prefetch_count=stage.settings.prefetch_frames), no_reply=True)
    async def on_frame(_: bytes) -> None:
        taken.put_nowait(broker.context.get_local("message"))

    async def ack_all() -> list[str]:
        acked: list[str] = []
        while (message := await taken.get()) is not None:
            if taken.empty():
                await asyncio.sleep(TRANSACTION_S)
            # Whatever else has come by the end of the transaction is acked with it, in one burst.
            await message.ack()
            acked.append(message.message_id)
        return acked

    acking = asyncio.create_task(ack_all())
    await broker.start()
    await asyncio.sleep(0.2)
    await cancel_consumers(broker, 5)
    taken.put_nowait(None)
    handled = await acking
    await acks_settled()
    await close(broker)
    return handled


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
