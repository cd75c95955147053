"""What a process leaves in its outbox when it dies is sent by another, once."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.addresses import Address
from contracts.inventory import StockReleased
from contracts.values import SagaId, TenantId
from infra import clock
from infra.database import open_pool
from infra.outbox import Outgoing
from infra.sweeper import Sweeper
from infra.transaction import Transactions
from infra.unscoped.due import OverdueRows
from tests.integration.messaging import REPLIES, Stage, items, nobody, parts, until

RESEND_AFTER_S = 0.05


@pytest.fixture
async def pool(stage: Stage) -> AsyncIterator[AsyncEngine]:
    pool = open_pool(stage.settings, "inventory", "sweeper", 4)
    yield pool
    await pool.dispose()


@pytest.fixture
async def left_behind(stage: Stage) -> set[tuple[TenantId, str]]:
    """Rows of 20 tenants, committed by a process that died before it published them; all are due."""
    settings = stage.settings.model_copy(update={"resend_after_s": RESEND_AFTER_S})
    async with parts(settings, hand_over=nobody) as dying:
        found = {
            (tenant_id, id) for tenant_id in (TenantId(uuid4()) for _ in range(20)) for id in await send(dying.transaction, tenant_id, 15)
        }
    await asyncio.sleep(2 * RESEND_AFTER_S)
    return found


async def send(transaction: Transactions, tenant_id: TenantId, count: int) -> list[str]:
    async with transaction(tenant_id) as scope:
        return [str(scope.send(StockReleased(), subject="test", sagaid=SagaId(uuid4()), commandid=uuid4()).id) for _ in range(count)]


def keys(claimed: dict[TenantId, dict[str, datetime]]) -> set[tuple[TenantId, str]]:
    return {(tenant_id, id) for tenant_id, ids in claimed.items() for id in ids}


async def test_what_a_dead_process_left_is_published_and_its_rows_deleted(
    stage: Stage, pool: AsyncEngine, left_behind: set[tuple[TenantId, str]]
) -> None:
    async with parts(stage.settings) as alive:
        sweeper = Sweeper(alive.transaction, alive.relay, OverdueRows("inventory", pool, 60), stage.settings)
        assert await sweeper.sweep() == len(left_behind)
        came = items(await stage.read(REPLIES, len(left_behind)))
        assert sorted(item["id"] for item in came) == sorted(id for _, id in left_behind)

        async def deleted() -> bool:
            return not await stage.rows("SELECT FROM inventory.outbox")

        await until(deleted, lambda: "rows stay in the outbox")
        assert await sweeper.sweep() == 0


class OutOfStep(OverdueRows):
    """As the driver is after PostgreSQL was killed in the middle of a message: it fails once."""

    failures = 1

    async def claim(self, now: datetime, most: int) -> dict[TenantId, dict[str, datetime]]:
        if self.failures:
            self.failures -= 1
            raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
        return await super().claim(now, most)


async def test_nothing_that_the_driver_says_ends_the_sweeping(
    stage: Stage, pool: AsyncEngine, left_behind: set[tuple[TenantId, str]]
) -> None:
    settings = stage.settings.model_copy(update={"resend_after_s": RESEND_AFTER_S})
    async with parts(settings) as alive:
        sweeping = asyncio.create_task(Sweeper(alive.transaction, alive.relay, OutOfStep("inventory", pool, 60), settings).run())
        came = items(await stage.read(REPLIES, len(left_behind)))
        sweeping.cancel()
    assert {item["id"] for item in came} == {id for _, id in left_behind}


async def test_two_sweepers_claim_each_row_once(pool: AsyncEngine, left_behind: set[tuple[TenantId, str]]) -> None:
    sweepers = [OverdueRows("inventory", pool, 60) for _ in range(4)]
    claims = [keys(claimed) for claimed in await asyncio.gather(*(rows.claim(clock.now(), 100) for rows in sweepers * 2))]
    assert sum(len(claimed) for claimed in claims) == len(left_behind)
    assert union(claims) == left_behind


async def test_a_sweeper_passes_over_what_another_holds_without_waiting(
    stage: Stage, pool: AsyncEngine, left_behind: set[tuple[TenantId, str]]
) -> None:
    # A transaction that holds locks stands for another sweeper in the middle of its claim.
    async with stage.administrator.transaction():
        locked = await stage.rows("SELECT tenant_id, id::text FROM inventory.outbox ORDER BY id LIMIT 100 FOR UPDATE")
        async with asyncio.timeout(5):
            claimed = keys(await OverdueRows("inventory", pool, 60).claim(clock.now(), 1000))
    assert claimed == left_behind - {tuple(row) for row in locked}


async def test_a_claimed_row_is_due_again_later(stage: Stage, pool: AsyncEngine, left_behind: set[tuple[TenantId, str]]) -> None:
    rows = OverdueRows("inventory", pool, 60)
    at = clock.now()
    assert keys(await rows.claim(at, 1000)) == left_behind
    assert await rows.claim(at + timedelta(seconds=59), 1000) == {}
    assert keys(await rows.claim(at + timedelta(seconds=60), 1000)) == left_behind


@pytest.mark.parametrize(("age", "pause_s"), [(timedelta(seconds=100), 50), (timedelta(days=1), 300)])
async def test_what_is_sent_in_vain_is_sent_again_after_ever_longer_pauses(
    pool: AsyncEngine, left_behind: set[tuple[TenantId, str]], age: timedelta, pause_s: float
) -> None:
    rows = OverdueRows("inventory", pool, 1)
    at = clock.now() + age
    assert keys(await rows.claim(at, 1000)) == left_behind
    # The rows are a moment older than `age`.
    assert await rows.claim(at + timedelta(seconds=pause_s - 1), 1000) == {}
    assert keys(await rows.claim(at + timedelta(seconds=pause_s + 10), 1000)) == left_behind


async def test_what_is_not_due_is_left_alone(stage: Stage, pool: AsyncEngine) -> None:
    async with parts(stage.settings) as inventory:
        sweeper = Sweeper(inventory.transaction, inventory.relay, OverdueRows("inventory", pool, 60), stage.settings)
        await send(inventory.transaction, TenantId(uuid4()), 50)
        assert await sweeper.sweep() == 0
        assert len(items(await stage.read(REPLIES, 50))) == 50


async def test_the_relay_says_what_is_on_its_way_until_it_is_confirmed(stage: Stage) -> None:
    one = Outgoing(TenantId(uuid4()), str(uuid4()), Address("inventory.replies", REPLIES), "{}")
    async with parts(stage.settings, hand_over=nobody) as inventory:
        assert not inventory.relay.holds(one.tenant_id, one.id, one.created_at)
        inventory.relay([one])
        assert inventory.relay.holds(one.tenant_id, one.id, one.created_at)
        assert not inventory.relay.holds(one.tenant_id, one.id, clock.now()), "of what was sent again since, the sweeper has to see to it"
        await inventory.relay.drain(10)
        assert not inventory.relay.holds(one.tenant_id, one.id, one.created_at)


def union(sets: Iterable[set[tuple[TenantId, str]]]) -> set[tuple[TenantId, str]]:
    return set().union(*sets)
