"""What a scope writes is one statement at its end; a transaction that went wrong unnoticed is not committed; on a real PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra import clock
from infra.database import open_pool
from infra.outbox import Outbox
from infra.rows import LockedRowMissing
from infra.settings import Settings
from infra.transaction import NotCommitted, Transactions
from tests.hearing import heard
from tests.integration.refusals import DIVIDED_BY_ZERO

TENANT: Final = TenantId(uuid4())
_ADD: Final = """
    INSERT INTO inventory.shop (tenant_id, shop_id, name, created_at)
    SELECT $1::uuid, given.*, $4::timestamptz FROM unnest($2::uuid[], $3::text[]) AS given"""
_NAMES: Final = "SELECT name FROM inventory.shop WHERE tenant_id = $1 AND shop_id = ANY($2::uuid[]) ORDER BY name"
_MARK: Final = "UPDATE inventory.stock SET held = held WHERE tenant_id = $1 AND shop_id = $2"


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[AsyncEngine]:
    pool = open_pool(settings, "inventory", "app", 2)
    yield pool
    await pool.dispose()


@pytest.fixture
def transaction(settings: Settings, pool: AsyncEngine) -> Transactions:
    return Transactions("inventory", pool, Outbox("inventory", settings.resend_after_s), lambda _: None, clock.now)


async def names(transaction: Transactions, *shops: UUID) -> list[str]:
    async with transaction(TENANT) as scope:
        return [row["name"] for row in await scope.connection.fetch(_NAMES, TENANT, shops)]


async def test_all_writes_of_a_scope_are_one_statement(transaction: Transactions) -> None:
    shops = [uuid4() for _ in range(3)]
    with ExitStack() as listening:
        async with transaction(TENANT) as scope:
            said = listening.enter_context(heard(scope))
            scope.write(_ADD, TENANT, shops[:1], ["one"], scope.now, rows=1)
            scope.write(_ADD, TENANT, shops[1:], ["two", "three"], scope.now, rows=2)
            scope.write(_MARK, TENANT, shops[0])
            assert said == []
    written, ended = said
    assert written.startswith("WITH write_0")
    assert ended == "COMMIT"
    assert await names(transaction, *shops) == ["one", "three", "two"]


async def test_a_write_that_misses_its_rows_undoes_all_others(transaction: Transactions) -> None:
    shop = uuid4()
    with pytest.raises(LockedRowMissing):  # noqa: PT012 - it is raised at the scope's end
        async with transaction(TENANT) as scope:
            scope.write(_ADD, TENANT, [shop], ["lost"], scope.now, rows=1)
            scope.write(_MARK, TENANT, uuid4(), rows=1)
    assert await names(transaction, shop) == []


async def test_what_is_asked_for_is_written_before_the_scope_ends(transaction: Transactions) -> None:
    shop = uuid4()
    async with transaction(TENANT) as scope:
        scope.write(_ADD, TENANT, [shop], ["early"], scope.now)
        await scope.written()
        assert await scope.connection.fetchval(_NAMES, TENANT, [shop]) == "early"


async def test_a_failure_that_nobody_noticed_is_not_taken_for_a_commit(transaction: Transactions) -> None:
    shop, heard = uuid4(), []
    with pytest.raises(NotCommitted):  # noqa: PT012 - it is raised at the transaction's end
        async with transaction(TENANT) as scope:
            scope.once_committed(lambda: heard.append("committed"))
            await scope.connection.execute(_ADD, TENANT, [shop], ["gone"], scope.now)
            with suppress(*DIVIDED_BY_ZERO):
                await scope.connection.execute("SELECT 1 / 0")
    assert heard == []
    assert await names(transaction, shop) == []


async def test_a_connection_that_died_in_the_pool_is_replaced(transaction: Transactions, administrator: asyncpg.Connection) -> None:
    shop = uuid4()
    assert await names(transaction, shop) == []
    await administrator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'inventory_app' AND state = 'idle'")
    assert await names(transaction, shop) == []
