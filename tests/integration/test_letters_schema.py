"""What the schema `ops` itself keeps: letters whole, what operators did for good, the application inside its grants."""

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from contracts.values import TenantId
from infra.database import role_url
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.letters import FoundLetter
from services.ops.desk.model import Letter
from tests.conformance.places import opened
from tests.integration.refusals import CHECK_VIOLATED, NO_RIGHT
from tests.integration.rows import insert, rows_of

_OWN: Final = {"form", "body", "headers", "stack"}
"""Columns of a letter that are only read when somebody looks at it, or sends it."""


@pytest.fixture
async def ops(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "ops") as transactions:
        yield transactions


@pytest.fixture
async def tenant(ops: Transactions) -> TenantId:
    """A tenant with a row in each table of the desk."""
    tenant_id = TenantId(uuid4())
    async with ops(tenant_id) as scope:
        for table, row in rows_of(tenant_id).items():
            if table.startswith("ops."):
                statement, values = insert(table, row)
                await scope.connection.execute(statement, *values)
    return tenant_id


async def columns(administrator: asyncpg.Connection, table: str) -> set[str]:
    query = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"
    return {row[0] for row in await administrator.fetch(query, table)}


async def test_a_letter_is_its_row(administrator: asyncpg.Connection) -> None:
    own = {field.name for field in fields(Letter)} - {"newest", "changed"}
    assert await columns(administrator, "ops.letter") == own | _OWN
    # What is listed across tenants is all of it but why it died.
    assert set(FoundLetter.__slots__) == own - {"error"}


async def test_who_finds_letters_across_tenants_is_refused_what_they_say(settings: Settings, tenant: TenantId) -> None:
    url = role_url(settings, "ops", "sweeper").set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM ops.letter WHERE tenant_id = $1", tenant) == 1
        refused = ("letter.body", "letter.headers", "letter.error", "letter.stack", "death.error", "letter_revision.body", "audit.reason")
        for table, _, column in (one.partition(".") for one in refused):
            with pytest.raises(NO_RIGHT):
                await connection.fetch(f"SELECT {column} FROM ops.{table}")
        for change in ("UPDATE ops.letter SET state = 'DEAD'", "DELETE FROM ops.letter", "DELETE FROM ops.audit"):
            with pytest.raises(NO_RIGHT):
                await connection.execute(change)
    finally:
        await connection.close()


@pytest.mark.parametrize("change", ["UPDATE ops.audit SET reason = 'y'", "DELETE FROM ops.audit", "TRUNCATE ops.audit"])
async def test_nobody_changes_what_operators_did(
    ops: Transactions, administrator: asyncpg.Connection, tenant: TenantId, change: str
) -> None:
    with pytest.raises(NO_RIGHT):
        async with ops(tenant) as scope:
            await scope.connection.execute(change)
    # Not even who may do everything else.
    with pytest.raises(NO_RIGHT, match="for good"):
        await administrator.execute(change)


async def test_with_a_letter_go_its_deaths_and_revisions_and_nothing_else(ops: Transactions, tenant: TenantId) -> None:
    async with ops(tenant) as scope:
        await scope.connection.execute("DELETE FROM ops.letter WHERE tenant_id = $1", tenant)
        for table, left in (("death", 0), ("letter_revision", 0), ("audit", 1), ("saga", 1), ("replay_item", 1)):
            assert await scope.connection.fetchval(f"SELECT count(*) FROM ops.{table}") == left, table


@pytest.mark.parametrize("state", ["LOST", "dead", ""])
async def test_a_state_that_there_is_not_cannot_be_stored(ops: Transactions, tenant: TenantId, state: str) -> None:
    with pytest.raises(CHECK_VIOLATED):
        async with ops(tenant) as scope:
            await scope.connection.execute("UPDATE ops.letter SET state = $1 WHERE tenant_id = $2", state, tenant)
