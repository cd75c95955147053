"""Connections that are given up in the middle of something, and what a statement is that was prepared before a migration."""

import asyncio
from contextlib import suppress
from typing import Final
from uuid import UUID

import asyncpg
import psycopg
import pytest

from infra.retry import Ending, ending_of
from infra.settings import Settings
from tests.integration.test_wire_faults import TENANT, asked, connected

CHANGING: Final = "SELECT a FROM inventory.changing"


async def test_whoever_is_cancelled_while_a_transaction_begins_leaves_no_reader_behind(settings: Settings) -> None:
    async with connected(settings, 2) as transaction:
        for turns in range(60):
            beginning = asyncio.create_task(asked(transaction, "SELECT 1"))
            for _ in range(turns % 30):
                await asyncio.sleep(0)
            beginning.cancel()
            with suppress(asyncio.CancelledError):
                await beginning
            assert await asked(transaction, "SELECT 1") == 1


async def test_a_server_that_does_not_let_itself_be_cancelled_costs_one_connection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.wire._CANCEL_MAX_S", 0.1)
    stubborn = "DO $$ BEGIN PERFORM pg_sleep(5); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(0.5); END $$"
    async with connected(settings, 1) as transaction:
        working = asyncio.create_task(asked(transaction, stubborn))
        await asyncio.sleep(0.2)
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        for _ in range(3):
            assert await asked(transaction, "SELECT 1") == 1


async def test_a_column_that_changes_its_type_costs_a_statement_one_more_try(settings: Settings, administrator: asyncpg.Connection) -> None:
    await administrator.execute("CREATE TABLE inventory.changing (a integer); GRANT SELECT ON inventory.changing TO inventory_app")
    try:
        async with connected(settings, 1) as transaction:
            await asked(transaction, CHANGING)
            await administrator.execute("ALTER TABLE inventory.changing ALTER a TYPE bigint")
            with pytest.raises(psycopg.errors.FeatureNotSupported) as raised:
                await asked(transaction, CHANGING)
            assert ending_of(raised.value) is Ending.CONFLICT
            assert await asked(transaction, CHANGING) is None
    finally:
        await administrator.execute("DROP TABLE inventory.changing")


async def test_a_uuid_is_text_where_the_statement_wants_text(settings: Settings) -> None:
    value = UUID(bytes=b"abcdefghijklmnop")
    async with connected(settings, 1) as transaction, transaction(TENANT) as scope:
        # The second time, what the server said of the parameters is known.
        for _ in range(2):
            assert await scope.connection.fetchval("SELECT $1::text", value) == str(value)
            assert await scope.connection.fetchval("SELECT $1::text[]", [value]) == [str(value)]


async def test_an_argument_too_many_is_a_bug_and_no_outage(settings: Settings) -> None:
    async with connected(settings, 1) as transaction:
        with pytest.raises(psycopg.Error) as raised:
            async with transaction(TENANT) as scope:
                await scope.connection.fetchval("SELECT $1::text", "a", "b")
        assert ending_of(raised.value) is Ending.BUG
        assert await asked(transaction, "SELECT 1") == 1
