"""What is too old goes, whatever there is of it, while others work; what is not, or was never sent, stays."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from infra import clock
from infra.batch import Batches
from infra.database import open_pool
from infra.retention import MESSAGES, Forgets, Retention
from infra.services import MODULES, load
from infra.settings import Settings
from services.inventory.consumers import HANDLES
from tests.integration.messaging import Stage, a_tenant, parts, reserve, until

ROWS: Final = 100_000
PAGES: Final = 20
TENANT: Final = uuid4()

_GROW: Final = "INSERT INTO inventory.inbox SELECT $1, 'x', gen_random_uuid(), repeat('x', 100), $2 FROM generate_series(1, $3::int)"


def retention(settings: Settings, service: str = "inventory", forgets: tuple[Forgets, ...] = (), **changed: Any) -> Retention:
    return Retention(service, forgets, settings.model_copy(update={"retention_pages": PAGES, "retention_pause_s": 0.001, **changed}))


def days_ago(days: float) -> datetime:
    return clock.now() - timedelta(days=days)


async def inbox(stage: Stage, at: datetime, count: int = 1, service: str = "inventory") -> None:
    await stage.administrator.execute(_GROW.replace("inventory", service), TENANT, at, count)


async def left(stage: Stage, table: str = "inventory.inbox") -> int:
    return int(await stage.administrator.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", TENANT))


@pytest.fixture(autouse=True)
async def nothing_old(stage: Stage) -> None:
    await stage.administrator.execute("TRUNCATE inventory.inbox, inventory.suspect")


async def test_a_hundred_thousand_old_rows_go_in_short_statements_while_orders_run(stage: Stage) -> None:
    await inbox(stage, days_ago(36), ROWS)
    await inbox(stage, days_ago(34), 100)
    slowest, commits = timedelta(0), 0
    async with parts(stage.settings) as own:
        batches = Batches(own.transaction, HANDLES)
        tenant_id = await a_tenant(own.transaction, APPLE=1_000_000)
        # Any statement that takes longer than this is cut by the database, and its rows stay.
        walking = asyncio.create_task(retention(stage.settings, statement_timeout_s=0.5).walk())
        while not walking.done():
            began = clock.now()
            await batches.commit([reserve(tenant_id) for _ in range(10)])
            slowest, commits = max(slowest, clock.now() - began), commits + 1
    assert (await walking, await left(stage)) == (ROWS, 100)
    assert commits > 5
    assert slowest < timedelta(seconds=2), f"an order waited {slowest}"


async def test_of_several_walks_one_goes_and_the_others_do_not_wait(stage: Stage) -> None:
    await inbox(stage, days_ago(36), 20_000)
    deleted = await asyncio.gather(*(retention(stage.settings).walk() for _ in range(4)))
    assert sum(deleted) == 20_000
    assert await left(stage) == 0


async def test_a_row_that_somebody_holds_stops_nobody_and_goes_with_the_next_walk(stage: Stage) -> None:
    await inbox(stage, days_ago(36), 20_000)
    async with stage.administrator.transaction():
        await stage.administrator.execute("SELECT 1 FROM inventory.inbox WHERE ctid = '(0,1)' FOR UPDATE")
        async with asyncio.timeout(10):
            assert 0 < await retention(stage.settings).walk() < 20_000
    assert await retention(stage.settings).walk() > 0
    assert await left(stage) == 0


@pytest.mark.parametrize("service", MODULES)
async def test_every_service_forgets_its_old_messages_and_suspicions_and_keeps_the_others(stage: Stage, service: str) -> None:
    for at in (days_ago(34.9), days_ago(35.1)):
        await inbox(stage, at, service=service)
        await stage.administrator.execute(f"INSERT INTO {service}.suspect VALUES ($1, $2, 1, $3)", TENANT, uuid4(), at)
    [loaded] = load([service])
    assert await retention(stage.settings, service, tuple(loaded.forgets)).walk() >= 2
    assert [await left(stage, f"{service}.{table}") for table in ("inbox", "suspect")] == [1, 1]
    await stage.administrator.execute(f"TRUNCATE {service}.inbox, {service}.suspect")


async def test_orders_forgets_the_keys_of_old_requests_and_keeps_the_others(stage: Stage) -> None:
    for days in (29.9, 30.1):
        row = (TENANT, str(uuid4()), "f" * 64, uuid4(), "{}", days_ago(days))
        await stage.administrator.execute("INSERT INTO orders.idempotency VALUES ($1, $2, $3, $4, $5, $6)", *row)
    [orders] = load(["orders"])
    assert await retention(stage.settings, "orders", tuple(orders.forgets)).walk() == 1
    assert await left(stage, "orders.idempotency") == 1


async def test_what_was_never_sent_is_never_too_old(stage: Stage) -> None:
    row = (TENANT, uuid4(), days_ago(1000), clock.now() + timedelta(days=1))
    await stage.administrator.execute("INSERT INTO inventory.outbox VALUES ($1, $2, 'x', 'x', '{}', NULL, $3, $4)", *row)
    await retention(stage.settings).walk()
    assert await left(stage, "inventory.outbox") == 1


@pytest.mark.parametrize("one", MESSAGES, ids=lambda one: one.table)
async def test_a_statement_looks_at_its_pages_only(stage: Stage, one: Forgets) -> None:
    """Whatever plan is kept: as the sweeper, with parameters whose values it does not know."""
    pool = open_pool(stage.settings, "inventory", "sweeper", 1)
    delete = f"DELETE FROM inventory.{one.table} WHERE ctid >= $1 AND ctid < $2 AND {one.column} < $3"
    async with pool.connect() as connection:
        await connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        await connection.exec_driver_sql(f"PREPARE forget (tid, tid, timestamptz) AS {delete}")
        plan = await connection.exec_driver_sql("EXPLAIN EXECUTE forget ('(0,0)', '(100,0)', now())")
        assert any("Tid Range Scan" in row[0] for row in plan)
    await pool.dispose()


async def test_a_worker_walks_by_itself(stage: Stage) -> None:
    await inbox(stage, days_ago(36), 10)
    walking = asyncio.create_task(retention(stage.settings, retention_every_s=0.05).run())

    async def gone() -> bool:
        return await left(stage) == 0

    await until(gone, lambda: "the old rows are still there")
    walking.cancel()
