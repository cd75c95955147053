"""What is to be published, written in the transaction that decided it.

A row is the crash fallback: normally the relay publishes from memory right after the commit and deletes the row once the
broker has confirmed. Rows that stay are sent again by the sweeper. What is sent again under the same id while the row of the first
time is still here renews that row: whoever confirms the first time leaves it alone, because it is not of the same time any more.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.addresses import Address
from contracts.values import TenantId
from infra.statements import Statements
from infra.writes import Writes


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One envelope on its way. `body` is its JSON without line breaks; `headers` only dead letters have."""

    tenant_id: TenantId
    id: str
    address: Address
    body: str
    headers: Mapping[str, str | int] | None = None
    created_at: datetime | None = None
    """When its row was written, which tells it from that of an earlier time with the same id. None: it has no row."""


class Outbox:
    """The outbox table of one service's schema."""

    def __init__(self, schema: str, resend_after_s: float) -> None:
        self._insert = f"""
            INSERT INTO {schema}.outbox (tenant_id, id, exchange, routing_key, body, headers, created_at, due_at)
            SELECT $1::uuid, row.*, $7::timestamptz, $8::timestamptz
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]) AS row
            -- A command asked again, or the answer to it: the row may be about to be deleted, because the first time is confirmed.
            ON CONFLICT (tenant_id, id) DO UPDATE SET exchange = EXCLUDED.exchange, routing_key = EXCLUDED.routing_key,
                body = EXCLUDED.body, headers = EXCLUDED.headers, created_at = EXCLUDED.created_at, due_at = EXCLUDED.due_at"""
        self._read = f"""
            SELECT id, exchange, routing_key, body, headers, created_at FROM {schema}.outbox
            WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY created_at, id"""
        self._resend_after = timedelta(seconds=resend_after_s)

    def add_to(self, writes: Writes, tenant_id: TenantId, outgoing: Sequence[Outgoing], now: datetime) -> None:
        """Have the rows written inside the open transaction and its scope; the tenant is the scope's, which row-level security checks."""
        # Each once: a statement renews no row twice. Sorted, as the relay deletes them: in opposite order they would deadlock.
        rows = [one for _, one in sorted({one.id: one for one in outgoing}.items())]
        writes.add(
            self._insert,
            tenant_id,
            [one.id for one in rows],
            [one.address.exchange for one in rows],
            [one.address.routing_key for one in rows],
            [one.body for one in rows],
            [json.dumps(one.headers) if one.headers else None for one in rows],
            now,
            now + self._resend_after,
        )

    async def read(self, connection: Statements, tenant_id: TenantId, ids: Sequence[str]) -> list[Outgoing]:
        """The rows with these ids that are still there, oldest first. The tenant comes from the column, not from a body."""
        rows = await connection.fetch(self._read, tenant_id, ids)
        return [
            Outgoing(
                tenant_id,
                str(row["id"]),
                Address(row["exchange"], row["routing_key"]),
                row["body"],
                json.loads(row["headers"]) if row["headers"] else None,
                row["created_at"],
            )
            for row in rows
        ]
