"""Confirmed rows are deleted, also once the connection for it was cut, but not what was sent again since; on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.addresses import Address
from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.outbox import Outgoing
from infra.retry import DRIVER_ERRORS, Ending, ending_of
from infra.settings import Settings
from infra.unscoped.due import ConfirmedRows
from tests.conformance.places import opened
from tests.integration.messaging import until

_ADD: Final = """
    INSERT INTO inventory.outbox (tenant_id, id, exchange, routing_key, body, created_at, due_at) VALUES ($1, $2, 'x', 'y', '{}', $3, $3)"""
_CUT: Final = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'inventory_relay' AND pid <> pg_backend_pid()"


_WAITING: Final = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'inventory_relay' AND wait_event_type = 'Lock'"
_THERE: Final = "SELECT body FROM inventory.outbox WHERE id = $1"
ADDRESS: Final = Address("x", "y")


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[AsyncEngine]:
    pool = open_pool(settings, "inventory", "relay", 1)
    yield pool
    await pool.dispose()


async def test_a_connection_that_was_cut_is_not_used_again(pool: AsyncEngine, administrator: asyncpg.Connection) -> None:
    rows, row = ConfirmedRows("inventory", pool), (TenantId(uuid4()), str(uuid4()), now())
    await rows.delete([row])
    await administrator.execute(_ADD, *row)
    assert await administrator.fetchval(_CUT) == 1
    with pytest.raises((*DRIVER_ERRORS, OSError)) as raised:
        await rows.delete([row])
    assert ending_of(raised.value) is Ending.OUTAGE
    await rows.delete([row])
    assert not await administrator.fetch(_THERE, row[1])


async def test_a_row_that_is_sent_again_while_it_is_being_deleted_stays(
    settings: Settings, pool: AsyncEngine, administrator: asyncpg.Connection
) -> None:
    sent: list[Outgoing] = []
    tenant_id, id = TenantId(uuid4()), str(uuid4())

    async def delete(one: Outgoing) -> None:
        assert one.created_at is not None
        await ConfirmedRows("inventory", pool).delete([(tenant_id, id, one.created_at)])

    async def waits() -> bool:
        return bool(await administrator.fetchval(_WAITING))

    async with opened(settings, "inventory", lambda outgoing: sent.extend(outgoing)) as transaction:
        async with transaction(tenant_id) as scope:
            scope.post(id, ADDRESS, "first")
        async with transaction.batch() as batch:
            async with batch.scope(tenant_id) as scope:
                scope.post(id, ADDRESS, "again")
                scope.post(id, ADDRESS, "and again")
            deleting = asyncio.create_task(delete(sent[0]))
            await until(waits, lambda: "nobody waits for the row")
        await deleting
    assert [row["body"] for row in await administrator.fetch(_THERE, id)] == ["and again"]
    await delete(sent[-1])
    assert not await administrator.fetch(_THERE, id)
