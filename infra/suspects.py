"""Envelopes that were being handled when their process died, counted: the one that kills every process is found by this.

A redelivered envelope is marked in a transaction of its own before it is tried, and the mark goes with the effect. So only the
killer gathers marks, and after `deaths_max` of them it is parked untried, with its story, while its neighbours go on.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from contracts.messages import Envelope
from contracts.values import TenantId
from infra.retry import until_committed
from infra.settings import Settings
from infra.statements import Statements
from infra.transaction import Transactions


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

    async def mark(self, connection: Statements, tenant_id: TenantId, message_id: UUID, now: datetime) -> int:
        """Note that the message is about to be tried after a redelivery; returns how often that was noted, this time included."""
        return int(await connection.fetchval(self._mark, tenant_id, message_id, now))

    async def clear(self, connection: Statements, tenant_id: TenantId, message_ids: Sequence[UUID]) -> None:
        """These were handled, or parked, in this transaction."""
        await connection.execute(self._clear, tenant_id, message_ids)

    async def deaths(self, connection: Statements, tenant_id: TenantId, message_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How many marks each of these has; one without a mark is absent."""
        return {row["message_id"]: row["deaths"] for row in await connection.fetch(self._deaths, tenant_id, message_ids)}


class Marks:
    """The suspects as the edge sees them: each mark is a transaction of its own, which waits for an absent database."""

    def __init__(self, transaction: Transactions, settings: Settings) -> None:
        self._transaction = transaction
        self._settings = settings
        self._suspects = Suspects(transaction.service)

    async def of(self, envelopes: Iterable[Envelope]) -> dict[UUID, int]:
        """How many marks each has so far; one without a mark is absent."""
        found: dict[UUID, int] = {}
        by_tenant: dict[TenantId, list[UUID]] = {}
        for envelope in envelopes:
            by_tenant.setdefault(envelope.tenantid, []).append(envelope.id)
        for tenant_id, ids in sorted(by_tenant.items()):
            async for trial in until_committed(self._settings):
                with trial:
                    async with self._transaction(tenant_id) as scope:
                        found |= await self._suspects.deaths(scope.connection, tenant_id, ids)
        return found

    async def add(self, envelope: Envelope) -> int:
        """Mark it: it is about to be tried after a redelivery; how often that was noted, this time included."""
        marks = 0
        async for trial in until_committed(self._settings):
            with trial:
                async with self._transaction(envelope.tenantid) as scope:
                    marks = await self._suspects.mark(scope.connection, envelope.tenantid, envelope.id, scope.now)
        return marks
