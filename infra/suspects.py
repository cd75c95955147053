"""Envelopes that were being handled when their process died, counted: the one that kills every process is found by this.

A redelivered envelope is marked in a transaction of its own before it is tried, and the mark goes with the effect. So only the
killer gathers marks, and after `deaths_max` of them it is parked untried, with its story, while its neighbours go on.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from contracts.values import TenantId


class KilledItsProcess(Exception):
    """The process died each time it handled this message; it was not tried again."""

    def __init__(self, deaths: int) -> None:
        super().__init__(f"{deaths} processes died while they handled this message; it was not tried again")
        self.deaths = deaths


class Suspects:
    """The suspect table of one service's schema."""

    def __init__(self, schema: str) -> None:
        self._mark = f"""
            INSERT INTO {schema}.suspect AS row (tenant_id, message_id, deaths, marked_at) VALUES ($1, $2, 1, $3)
            ON CONFLICT (tenant_id, message_id) DO UPDATE SET deaths = row.deaths + 1, marked_at = $3 RETURNING deaths"""
        self._clear = f"DELETE FROM {schema}.suspect WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])"
        self._deaths = f"SELECT message_id, deaths FROM {schema}.suspect WHERE tenant_id = $1 AND message_id = ANY($2::uuid[])"

    async def mark(self, connection: asyncpg.Connection, tenant_id: TenantId, message_id: UUID, now: datetime) -> int:
        """Note that the message is about to be tried after a redelivery; returns how often that was noted, this time included."""
        return int(await connection.fetchval(self._mark, tenant_id, message_id, now))

    async def clear(self, connection: asyncpg.Connection, tenant_id: TenantId, message_ids: Sequence[UUID]) -> None:
        """These were handled, or parked, in this transaction."""
        await connection.execute(self._clear, tenant_id, message_ids)

    async def deaths(self, connection: asyncpg.Connection, tenant_id: TenantId, message_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How many marks each of these has; one without a mark is absent."""
        return {row["message_id"]: row["deaths"] for row in await connection.fetch(self._deaths, tenant_id, message_ids)}
