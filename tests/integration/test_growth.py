"""Set-based statements that were planned while their tables were empty find their rows by index when there are 100 000.

A pooled connection keeps a statement's generic plan. Planned on an empty table it would scan that table for ever; the batch roles
are told never to scan, and the same work by a connection that was told otherwise shows that it is this which helps.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import OrderId, TenantId
from infra import clock
from infra.batch import Batches
from infra.database import open_pool
from infra.outbox import Outbox, Outgoing
from infra.transaction import Transactions
from infra.unscoped.due import ConfirmedRows, OverdueRows
from services.inventory.consumers import HANDLES
from tests.conformance.places import completed
from tests.integration.messaging import Stage, a_tenant, envelope, nobody, reserve

ROWS: Final = 100_000
BATCH: Final = 40
ROUNDS: Final = 8
"""After five executions PostgreSQL may keep a prepared statement's generic plan."""
TABLES: Final = ("inbox", "outbox", "stock", "stock_hold", "stock_hold_line")
ROLES: Final = ("app", "relay", "sweeper")

_GROW: Final = (
    """INSERT INTO inventory.stock SELECT tenant_id, shop_id, 'SKU-' || n, 9, 0, 0, 9, now()
        FROM inventory.shop, generate_series(1, $2) n WHERE tenant_id = $1""",
    """INSERT INTO inventory.stock_hold
        SELECT $1, gen_random_uuid(), 'reserve-stock', 'WITHDRAWN', NULL, NULL, now(), now() FROM generate_series(1, $2)""",
    """INSERT INTO inventory.stock_hold_line
        SELECT tenant_id, order_id, step, 'x', 1 FROM inventory.stock_hold WHERE tenant_id = $1 LIMIT $2""",
    "INSERT INTO inventory.inbox SELECT $1, 'x', gen_random_uuid(), '{}', now() FROM generate_series(1, $2)",
    "INSERT INTO inventory.outbox SELECT $1, gen_random_uuid(), 'x', 'x', '{}', NULL, now(), 'infinity' FROM generate_series(1, $2)",
)
_SCANS: Final = "SELECT relname::text, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'inventory' AND relname = ANY($1)"


@dataclass
class Workplace:
    """A connection for each role, so that every round meets the plans of the one before."""

    app: AsyncEngine
    relay: AsyncEngine
    sweeper: AsyncEngine

    async def work(self, tenant_id: TenantId, sku: str) -> None:
        """Ask, undo and consume in batches, confirm and sweep what they sent: every set-based statement of a participant."""
        sent: list[Outgoing] = []
        outbox = Outbox("inventory", resend_after_s=1)
        transactions = Transactions("inventory", self.app, outbox, lambda outgoing: sent.extend(outgoing), clock.now)
        batches = Batches(transactions, HANDLES)
        for _ in range(ROUNDS):
            asks = [reserve(tenant_id, sku) for _ in range(BATCH)]
            orders = [OrderId(ask.data.order_id) for ask in asks]  # type: ignore[attr-defined]  # all are ReserveStock
            await batches.commit(asks)
            await batches.commit(asks)  # asked again: the remembered answers are read
            await batches.commit(envelope(tenant_id, completed(order)) for order in orders)
            async with transactions(tenant_id) as scope:
                assert len(await outbox.read(scope.connection, tenant_id, [one.id for one in sent])) == BATCH
            claimed = await OverdueRows("inventory", self.sweeper, 60).claim(clock.now() + timedelta(seconds=10), BATCH)
            assert sum(map(len, claimed.values())) == BATCH
            await ConfirmedRows("inventory", self.relay).delete([(one.tenant_id, one.id, one.created_at) for one in sent if one.created_at])
            sent.clear()

    async def set(self, statement: str) -> None:
        """Run it on every connection, outside any tenant."""
        for pool in (self.app, self.relay, self.sweeper):
            async with pool.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(text(statement))


@asynccontextmanager
async def workplace(stage: Stage) -> AsyncIterator[Workplace]:
    pools = [open_pool(stage.settings, "inventory", role, 1) for role in ROLES]
    try:
        yield Workplace(*pools)
    finally:
        for pool in pools:
            await pool.dispose()


@pytest.fixture
async def tenant_id(stage: Stage) -> AsyncIterator[TenantId]:
    """One product in tables that are empty otherwise, and known to be: nobody looks at their size again by itself."""
    tables = [f"inventory.{table}" for table in (*TABLES, "product", "shop")]
    await stage.administrator.execute(f"TRUNCATE {', '.join(tables)}")
    for table in tables:
        await stage.administrator.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        await stage.administrator.execute(f"ANALYZE {table}")
    pool = open_pool(stage.settings, "inventory", "app", 1)
    yield await a_tenant(Transactions("inventory", pool, Outbox("inventory", 1), nobody, clock.now), APPLE=100_000)
    await pool.dispose()
    await stage.administrator.execute(f"TRUNCATE {', '.join(tables)}")
    for table in tables:
        await stage.administrator.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")


async def grow(stage: Stage, tenant_id: TenantId) -> None:
    async with stage.administrator.transaction():
        # Foreign keys are right by construction; checking 100 000 of each would take most of the test's time.
        await stage.administrator.execute("SET LOCAL session_replication_role = replica")
        for statement in _GROW:
            await stage.administrator.execute(statement.replace("$1", f"'{tenant_id}'::uuid").replace("$2", str(ROWS)))
        await stage.administrator.execute("SELECT pg_stat_force_next_flush()")


async def scanned(stage: Stage, place: Workplace, tenant_id: TenantId) -> set[str]:
    """The tables that are read from beginning to end while the work is done once more."""
    before = dict(await stage.rows(_SCANS, TABLES))
    await place.work(tenant_id, "APPLE")
    await place.set("SELECT pg_stat_force_next_flush()")
    after = dict(await stage.rows(_SCANS, TABLES))
    assert set(after) == set(TABLES)
    return {table for table in TABLES if after[table] > before[table]}


async def test_what_was_planned_on_empty_tables_scans_none_of_them_when_they_have_grown(stage: Stage, tenant_id: TenantId) -> None:
    async with workplace(stage) as place, workplace(stage) as careless:
        await careless.set("SET enable_seqscan = on")
        for one in (place, careless):
            await one.work(tenant_id, "APPLE")
        await grow(stage, tenant_id)
        for one in (place, careless):
            await one.set("SELECT pg_stat_force_next_flush()")
        assert await scanned(stage, place, tenant_id) == set()
        assert await scanned(stage, careless, tenant_id) != set(), "the check sees no scan where there must be one"
