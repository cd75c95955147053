"""Two workers and one order, and a consumer whose connection breaks: whoever waits, waits for a lock, not for the clock."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest

from contracts.addresses import dead_letter_queue
from contracts.inventory import ReleaseStock
from contracts.messages import Envelope
from contracts.values import OrderId, TenantId
from infra.batch import Batches
from infra.handling import Handles
from infra.transaction import Scope
from services.inventory.consumers import HANDLES
from services.inventory.main import SERVICE
from tests.integration.messaging import COMMANDS, REPLIES, Stage, a_tenant, envelope, items, levels, nobody, parts, reserve, until, working

HELD: Final = "SELECT sum(held)::int FROM inventory.stock WHERE tenant_id = $1"
BLOCKED: Final = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0 AND datname = current_database()"


class Pausing:
    """The real repository, which stops after it has saved until it is let go: its transaction stays open, with its locks."""

    def __init__(self) -> None:
        self.saved, self.go_on = asyncio.Event(), asyncio.Event()

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Any:
        return await HANDLES[0].repository.load(scope, received)

    async def save(self, scope: Scope, state: Any) -> None:
        await HANDLES[0].repository.save(scope, state)
        self.saved.set()
        await self.go_on.wait()


@pytest.mark.parametrize("ask_first", [True, False], ids=["ask first", "undo first"])
async def test_an_ask_and_an_undo_of_one_order_at_once_leave_no_hold(stage: Stage, ask_first: bool) -> None:
    async with parts(stage.settings, hand_over=nobody) as inventory:
        tenant_id = await a_tenant(inventory.transaction, APPLE=10)
        order_id = OrderId(uuid4())
        pair = [reserve(tenant_id, order_id=order_id), envelope(tenant_id, ReleaseStock(order_id=order_id))]
        first, second = pair if ask_first else pair[::-1]
        pausing = Pausing()
        slow = Batches(inventory.transaction, [Handles(pausing, HANDLES[0].decide)])
        async with asyncio.TaskGroup() as workers:
            workers.create_task(slow.commit([first]))
            await pausing.saved.wait()
            workers.create_task(Batches(inventory.transaction, HANDLES).commit([second]))
            await somebody_is_blocked(stage)
            pausing.go_on.set()
    assert (await stage.rows(HELD, tenant_id))[0][0] == 0
    assert [row["state"] for row in await stage.rows("SELECT state FROM inventory.stock_hold WHERE tenant_id = $1", tenant_id)] == [
        "WITHDRAWN"
    ]


async def test_two_workers_with_the_same_command_give_one_effect_and_the_same_answer(stage: Stage) -> None:
    async with parts(stage.settings, hand_over=nobody) as inventory:
        tenant_id = await a_tenant(inventory.transaction, APPLE=10)
        ask = reserve(tenant_id)
        pausing = Pausing()
        async with asyncio.TaskGroup() as workers:
            workers.create_task(Batches(inventory.transaction, [Handles(pausing, HANDLES[0].decide)]).commit([ask]))
            await pausing.saved.wait()
            workers.create_task(Batches(inventory.transaction, HANDLES).commit([ask]))
            # The second waits at the inbox, before it has locked anything else.
            await somebody_is_blocked(stage)
            pausing.go_on.set()
    assert (await stage.rows(HELD, tenant_id))[0][0] == 1
    assert len(await stage.rows("SELECT FROM inventory.outbox WHERE tenant_id = $1", tenant_id)) == 1


async def test_a_statement_cut_off_in_the_middle_changes_nothing_and_comes_again(stage: Stage) -> None:
    async with parts(stage.settings, hand_over=nobody) as inventory:
        tenant_id = await a_tenant(inventory.transaction, APPLE=10)
        ask = reserve(tenant_id)
        pausing = Pausing()
        cut = asyncio.create_task(Batches(inventory.transaction, [Handles(pausing, HANDLES[0].decide)]).commit([ask]))
        await pausing.saved.wait()
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        assert (await stage.rows(HELD, tenant_id))[0][0] == 0
        await Batches(inventory.transaction, HANDLES).commit([ask])
    assert (await stage.rows(HELD, tenant_id))[0][0] == 1


async def test_consuming_goes_on_after_the_broker_closed_every_connection(stage: Stage, tmp_path: Path) -> None:
    async with parts(stage.settings, hand_over=nobody) as inventory:
        tenant_id = await a_tenant(inventory.transaction, APPLE=10_000)
    asks = [reserve(tenant_id) for _ in range(300)]
    settings = stage.settings.model_copy(update={"resend_after_s": 0.5, "prefetch_frames": 5})
    async with working(SERVICE, settings, tmp_path) as worker:
        closed = 0

        async def cut() -> bool:
            nonlocal closed
            closed += await stage.close_connections()
            return closed >= 2

        await until(cut, lambda: f"only {closed} connections were seen")
        for start in range(0, 300, 10):
            await stage.publish(COMMANDS, *asks[start : start + 10])
        await stage.close_connections()
        answered: set[str] = set()

        async def all_answered() -> bool:
            if await stage.waiting(REPLIES):
                answered.update(item["commandid"] for item in items(await stage.read(REPLIES, 1)))
            return answered == {str(ask.id) for ask in asks}

        await until(all_answered, lambda: f"{len(answered)} of {len(asks)} commands were answered")
        assert sum(consumer.interruptions for consumer in worker._consumers) > 0
    assert (await stage.rows(HELD, tenant_id))[0][0] == 300


async def test_a_tenant_locked_by_somebody_else_is_waited_for_and_no_other_commits_before_its_batch(stage: Stage) -> None:
    async with parts(stage.settings, hand_over=nobody) as inventory:
        first, second = sorted([await a_tenant(inventory.transaction), await a_tenant(inventory.transaction)])
        async with stage.administrator.transaction():
            await stage.rows("SELECT FROM inventory.stock WHERE tenant_id = $1 FOR UPDATE", first)
            batch = asyncio.create_task(Batches(inventory.transaction, HANDLES).commit([reserve(second), reserve(first)]))
            await somebody_is_blocked(stage)
            assert await held_of(stage, [first, second]) == [0, 0]
        await batch
    assert await held_of(stage, [first, second]) == [1, 1]


async def test_two_workers_with_the_same_tenants_and_skus_in_opposite_order_commit_everything(stage: Stage, tmp_path: Path) -> None:
    settings = stage.settings.model_copy(update={"prefetch_frames": 2})
    skus = [f"SKU-{number}" for number in range(6)]
    async with parts(settings) as inventory:
        tenants = [await a_tenant(inventory.transaction, **dict.fromkeys(skus, 1000)) for _ in range(4)]
        asks = [reserve(tenant_id, *skus) for tenant_id in tenants for _ in range(60)]
        backwards = [reserve(tenant_id, *reversed(skus)) for tenant_id in reversed(tenants) for _ in range(60)]
        async with working(SERVICE, settings, tmp_path) as one, working(SERVICE, settings, tmp_path) as other:
            for start in range(0, len(asks), 20):
                await stage.publish(COMMANDS, *asks[start : start + 20])
                await stage.publish(COMMANDS, *backwards[start : start + 20])
            replies = items(await stage.read(REPLIES, len(asks) + len(backwards)))
            assert all(sum(consumer.handled for consumer in worker._consumers) for worker in (one, other)), "one worker did it all"
    assert {reply["type"] for reply in replies} == {"inventory.StockReserved.v1"}
    assert await stage.waiting(dead_letter_queue(COMMANDS.routing_key)) == 0
    for tenant_id in tenants:
        assert await levels(stage, tenant_id) == [(sku, 880, 120) for sku in skus]


async def test_batches_with_everything_in_opposite_order_never_deadlock(stage: Stage) -> None:
    async with parts(stage.settings, hand_over=nobody) as inventory:
        tenants = [await a_tenant(inventory.transaction, A=1000, B=1000) for _ in range(5)]
        asks = [reserve(tenant_id, "A", "B") for tenant_id in tenants for _ in range(20)]
        batches = Batches(inventory.transaction, HANDLES)
        before = (await stage.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))[0][0]
        # Raises whatever the database says: nothing is tried again here.
        await asyncio.gather(*(batches.commit(part) for part in (asks, asks[::-1], asks[50:] + asks[:50], asks[::-1][30:])))
        after = (await stage.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))[0][0]
    assert after == before
    for tenant_id in tenants:
        assert await levels(stage, tenant_id) == [("A", 980, 20), ("B", 980, 20)]


async def test_inbox_rows_are_written_in_the_order_of_their_keys(stage: Stage) -> None:
    async with parts(stage.settings, hand_over=nobody) as inventory:
        tenant_id = await a_tenant(inventory.transaction)
        low, high = sorted((reserve(tenant_id) for _ in range(2)), key=lambda ask: ask.id)
        insert = "INSERT INTO inventory.inbox (tenant_id, handler, message_id, received_at) VALUES ($1, $2, $3, now())"
        other = await asyncpg.connect(stage.settings.postgres_url)
        async with stage.administrator.transaction():
            await stage.administrator.execute(insert, tenant_id, low.type, low.id)
            batch = asyncio.create_task(Batches(inventory.transaction, HANDLES).commit([high, low]))
            await somebody_is_blocked(stage)
            # It waits for the lower key and has not yet taken the higher, so a worker that has the higher cannot wait for it.
            async with other.transaction():
                await other.execute("SET LOCAL lock_timeout = '2s'")
                await other.execute(insert, tenant_id, high.type, high.id)
                await other.execute("DELETE FROM inventory.inbox WHERE message_id = $1", high.id)
        await other.close()
        await batch
    assert (await stage.rows(HELD, tenant_id))[0][0] == 1


async def held_of(stage: Stage, tenants: list[TenantId]) -> list[int]:
    return [(await stage.rows(HELD, tenant_id))[0][0] for tenant_id in tenants]


async def somebody_is_blocked(stage: Stage) -> None:
    async def blocked() -> bool:
        # The statistics of a transaction are a snapshot; locks are not.
        await stage.administrator.execute("SELECT pg_stat_clear_snapshot()")
        return bool((await stage.rows(BLOCKED))[0][0])

    await until(blocked, lambda: "nobody waits for a lock")
