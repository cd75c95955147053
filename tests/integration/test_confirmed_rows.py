"""Confirmed rows are deleted, also once the connection for it was cut; on a real PostgreSQL."""

from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.retry import DRIVER_ERRORS, Ending, ending_of
from infra.settings import Settings
from infra.unscoped.due import ConfirmedRows

_ADD: Final = """
    INSERT INTO inventory.outbox (tenant_id, id, exchange, routing_key, body, created_at, due_at) VALUES ($1, $2, 'x', 'y', '{}', $3, $3)"""
_CUT: Final = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'inventory_relay' AND pid <> pg_backend_pid()"


async def test_a_connection_that_was_cut_is_not_used_again(settings: Settings, administrator: asyncpg.Connection) -> None:
    pool = open_pool(settings, "inventory", "relay", 1)
    rows, tenant_id, id = ConfirmedRows("inventory", pool), TenantId(uuid4()), uuid4()
    try:
        await rows.delete([(tenant_id, str(id))])
        await administrator.execute(_ADD, tenant_id, id, now())
        assert await administrator.fetchval(_CUT) == 1
        with pytest.raises((*DRIVER_ERRORS, OSError)) as raised:
            await rows.delete([(tenant_id, str(id))])
        assert ending_of(raised.value) is Ending.OUTAGE
        await rows.delete([(tenant_id, str(id))])
        assert not await administrator.fetchval("SELECT count(*) FROM inventory.outbox WHERE id = $1", id)
    finally:
        await pool.dispose()
