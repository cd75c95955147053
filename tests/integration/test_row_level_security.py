"""No tenant meets another, in any table of any service: read from the catalog, and tried with a row in every table."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra import clock
from infra.database import open_pool, role_url
from infra.outbox import Outbox
from infra.services import MODULES
from infra.settings import Settings
from infra.transaction import Transactions
from tests.conformance.places import opened
from tests.integration.isolation import foreign_keys_of, problems, tables_of
from tests.integration.refusals import DIVIDED_BY_ZERO, KEY_MISSING, NO_RIGHT
from tests.integration.rows import STANDING, Row, insert, rows_of

A, B = TenantId(uuid4()), TenantId(uuid4())
SERVICES: Final = tuple(MODULES)
TABLES: Final = tuple(sorted(rows_of(A)))
NO_SCOPE: Final = "no tenant scope is set"
WAIT_S: Final = 10.0
Apps = dict[str, Transactions]

pytestmark = pytest.mark.usefixtures("filled")


@pytest.fixture(scope="module")
async def apps(settings: Settings) -> AsyncIterator[Apps]:
    async with AsyncExitStack() as stack:
        yield {service: await stack.enter_async_context(opened(settings, service)) for service in SERVICES}


@pytest.fixture(scope="module")
async def filled(apps: Apps) -> None:
    """A row of each tenant in every table, written by the applications themselves."""
    for tenant_id in (A, B):
        for table, row in rows_of(tenant_id).items():
            async with app_of(apps, table)(tenant_id) as scope:
                statement, values = insert(table, row)
                await scope.connection.execute(statement, *values)


def app_of(apps: Apps, table: str) -> Transactions:
    return apps[table.split(".")[0]]


@pytest.mark.parametrize("service", SERVICES)
async def test_every_table_and_role_keeps_tenants_apart(administrator: asyncpg.Connection, service: str) -> None:
    assert await problems(administrator, service) == []


async def test_there_is_a_row_to_try_for_every_table(administrator: asyncpg.Connection) -> None:
    assert [table for service in SERVICES for table in await tables_of(administrator, service)] == sorted(
        TABLES, key=lambda table: (SERVICES.index(table.split(".")[0]), table)
    )


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE inventory.bare (tenant_id uuid PRIMARY KEY)",
        "ALTER TABLE inventory.stock NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE inventory.stock DISABLE ROW LEVEL SECURITY",
        "DROP POLICY app ON inventory.stock",
        "ALTER POLICY app ON inventory.stock USING (true)",
        "ALTER POLICY app ON inventory.stock USING (tenant_id::text = current_setting('oaas.tenant_id', true))",
        "ALTER POLICY app ON inventory.stock TO public",
        "CREATE POLICY more ON inventory.stock TO inventory_app USING (true)",
        "CREATE POLICY more ON inventory.stock FOR SELECT USING (true)",
        "CREATE VIEW inventory.all_stock AS SELECT * FROM inventory.stock",
        "ALTER TABLE inventory.stock OWNER TO inventory_app",
        "GRANT inventory_owner TO inventory_app",
        "ALTER ROLE inventory_app BYPASSRLS",
        "ALTER TABLE inventory.shop ADD UNIQUE (shop_id)",
        "CREATE FUNCTION inventory.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'",
    ],
)
async def test_what_would_let_tenants_meet_is_seen(administrator: asyncpg.Connection, change: str) -> None:
    undo = administrator.transaction()
    await undo.start()
    try:
        await administrator.execute(change)
        assert await problems(administrator, "inventory") != []
    finally:
        await undo.rollback()


@pytest.mark.parametrize("table", TABLES)
async def test_without_a_tenant_every_statement_raises(apps: Apps, table: str) -> None:
    insertion, values = insert(table, rows_of(A)[table])
    changed = await changeable(app_of(apps, table), table)
    statements = [
        (f"SELECT FROM {table}", []),
        (insertion, values),
        *((f"UPDATE {table} SET {column} = {column}", []) for column in changed),
    ]
    for statement, arguments in statements:
        with pytest.raises(NO_RIGHT, match=NO_SCOPE):
            await without_a_tenant(app_of(apps, table), statement, *arguments)
    with pytest.raises(NO_RIGHT):
        await without_a_tenant(app_of(apps, table), f"DELETE FROM {table}")


@pytest.mark.parametrize("table", TABLES)
async def test_a_tenant_sees_its_own_row_and_nobody_elses(apps: Apps, table: str) -> None:
    async with app_of(apps, table)(A) as scope:
        assert await scope.connection.fetch(f"SELECT DISTINCT tenant_id FROM {table}") == [(A,)]


@pytest.mark.parametrize("table", TABLES)
async def test_a_tenant_changes_nothing_of_another(apps: Apps, table: str) -> None:
    app = app_of(apps, table)
    for column in await changeable(app, table):
        async with app(A) as scope:
            assert await scope.connection.execute(f"UPDATE {table} SET {column} = {column} WHERE tenant_id = $1", B) == "UPDATE 0"
    async with app(A) as scope:
        may_delete = await scope.connection.fetchval("SELECT has_table_privilege($1, 'DELETE')", table)
        if may_delete:
            assert await scope.connection.execute(f"DELETE FROM {table} WHERE tenant_id = $1", B) == "DELETE 0"


@pytest.mark.parametrize("table", TABLES)
async def test_a_tenant_inserts_nothing_for_another(apps: Apps, table: str) -> None:
    statement, values = insert(table, rows_of(B, 2)[table])
    with pytest.raises(NO_RIGHT, match="row-level security"):
        async with app_of(apps, table)(A) as scope:
            await scope.connection.execute(statement, *values)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_tenant_refers_to_nothing_of_another(administrator: asyncpg.Connection, apps: Apps, service: str) -> None:
    for key in await foreign_keys_of(administrator, service):
        if key["columns"] == ["tenant_id"]:
            continue  # the row it refers to is the tenant's own by definition
        row = await referring(administrator, service, key)
        statement, values = insert(key["name"], row)
        with pytest.raises(KEY_MISSING) as raised:
            async with apps[service](A) as scope:
                await scope.connection.execute(statement, *values)
        assert isinstance(raised.value, psycopg.Error)
        assert raised.value.diag.constraint_name == key["conname"]


async def referring(administrator: asyncpg.Connection, service: str, wrong: asyncpg.Record) -> Row:
    """A new row of tenant A whose references are all right but this one, which names a row of tenant B."""
    row = rows_of(A, 2)[wrong["name"]]
    for key in await foreign_keys_of(administrator, service):
        if key["name"] == wrong["name"]:
            row |= {column: rows_of(A)[wrong["name"]][column] for column in key["columns"]}
    theirs = rows_of(B)[wrong["name"]]
    return row | {column: theirs[column] for column in wrong["columns"] if column != "tenant_id"}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("role", ["relay", "sweeper"])
async def test_who_works_across_tenants_reads_keys_and_times_only(administrator: asyncpg.Connection, service: str, role: str) -> None:
    query = """
        SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
          AND (has_column_privilege($2, attrelid, attnum, 'SELECT') OR has_column_privilege($2, attrelid, attnum, 'INSERT'))"""
    readable = {row[0] for row in await administrator.fetch(query, service, f"{service}_{role}")}
    expected = {f"{service}.outbox.{column}" for column in ("tenant_id", "id", "created_at")}
    if role == "sweeper":
        expected |= {f"{service}.outbox.due_at"}
        expected |= {f"{service}.inbox.received_at", f"{service}.suspect.marked_at"}
        expected |= {f"{table}.{name}" for table, names in STANDING.items() if table.startswith(f"{service}.") for name in names}
    assert readable == expected


@pytest.mark.parametrize("role", ["relay", "sweeper"])
async def test_who_works_across_tenants_is_refused_a_body(settings: Settings, role: str) -> None:
    url = role_url(settings, "orders", role).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT count(DISTINCT tenant_id) FROM orders.outbox WHERE tenant_id = ANY($1)", [A, B]) == 2
        with pytest.raises(NO_RIGHT):
            await connection.fetch("SELECT body FROM orders.outbox")
        with pytest.raises(NO_RIGHT):
            await connection.fetch("SELECT total_pence FROM orders.customer_order")
    finally:
        await connection.close()


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """One connection, so that the next user gets the last one's."""
    pool = open_pool(settings, "inventory", "app", 1)
    yield pool
    await pool.dispose()


@pytest.fixture
def only(settings: Settings, pool: AsyncEngine) -> Transactions:
    return Transactions("inventory", pool, Outbox("inventory", settings.resend_after_s), lambda outgoing: None, clock.now)


async def test_no_scope_is_left_behind_by_a_commit(only: Transactions, pool: AsyncEngine) -> None:
    async with only(A) as scope:
        await scope.connection.fetch("SELECT FROM inventory.stock")
    await nobody_is_set(only, pool)


async def test_no_scope_is_left_behind_by_a_rollback(only: Transactions, pool: AsyncEngine) -> None:
    with pytest.raises(DIVIDED_BY_ZERO):
        async with only(A) as scope:
            await scope.connection.fetch("SELECT 1 / 0 FROM inventory.stock")
    await nobody_is_set(only, pool)


async def test_no_scope_is_left_behind_by_a_query_that_is_cancelled(
    only: Transactions, pool: AsyncEngine, administrator: asyncpg.Connection
) -> None:
    asleep = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND usename = 'inventory_app')"
    )

    async def sleep() -> None:
        async with only(A) as scope:
            await scope.connection.fetch("SELECT pg_sleep(60)")

    sleeping = asyncio.create_task(sleep())
    async with asyncio.timeout(WAIT_S):
        while not await administrator.fetchval(asleep):  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    await nobody_is_set(only, pool)


async def test_a_batch_shows_each_tenant_its_own(only: Transactions) -> None:
    async with only.batch() as batch:
        for tenant_id in (A, B, A):
            async with batch.scope(tenant_id) as scope:
                assert await scope.connection.fetch("SELECT DISTINCT tenant_id FROM inventory.stock") == [(tenant_id,)]


async def nobody_is_set(only: Transactions, pool: AsyncEngine) -> None:
    """The pool's only connection has no tenant: neither raw nor in a transaction without a scope; and then serves another tenant."""
    async with pool.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        with pytest.raises(NO_RIGHT, match=NO_SCOPE):
            await raw.execute("SELECT FROM inventory.stock")
    with pytest.raises(NO_RIGHT, match=NO_SCOPE):
        await without_a_tenant(only, "SELECT FROM inventory.stock")
    async with only(B) as scope:
        assert await scope.connection.fetch("SELECT DISTINCT tenant_id FROM inventory.stock") == [(B,)]


async def without_a_tenant(app: Transactions, statement: str, *arguments: object) -> None:
    # Outside every scope, where only a bug of ours could get.
    opened = await app.begun()
    try:
        await opened.wire.ask(None, statement, arguments)
        await opened.commit(())
    finally:
        await opened.close(is_committed=False)


async def changeable(app: Transactions, table: str) -> list[str]:
    """A column that the application may change; none if it may change nothing."""
    query = """
        SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0
          AND NOT attisdropped AND has_column_privilege($1, attname, 'UPDATE') LIMIT 1"""
    async with app(A) as scope:
        return [row["attname"] for row in await scope.connection.fetch(query, table)]
