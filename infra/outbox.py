"""What is to be published, written in the transaction that decided it.

A row is the crash fallback: normally the relay publishes from memory right after the commit and deletes the row once the
broker has confirmed. Rows that stay are sent again by the sweeper.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from contracts.addresses import Address
from contracts.values import TenantId
from infra.writes import Writes


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One envelope on its way. `body` is its JSON without line breaks; `headers` only dead letters have."""

    tenant_id: TenantId
    id: str
    address: Address
    body: str
    headers: Mapping[str, str | int] | None = None


class Outbox:
    """The outbox table of one service's schema."""

    def __init__(self, schema: str, resend_after_s: float) -> None:
        self._insert = f"""
            INSERT INTO {schema}.outbox (tenant_id, id, exchange, routing_key, body, headers, created_at, due_at)
            SELECT $1::uuid, row.*, $7::timestamptz, $8::timestamptz
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]) AS row
            -- The answer to a command asked twice may still be waiting here: it is the same message.
            ON CONFLICT DO NOTHING"""
        self._read = f"""
            SELECT id, exchange, routing_key, body, headers FROM {schema}.outbox
            WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY created_at, id"""
        self._resend_after = timedelta(seconds=resend_after_s)

    def add_to(self, writes: Writes, tenant_id: TenantId, outgoing: Sequence[Outgoing], now: datetime) -> None:
        """Have the rows written inside the open transaction and its scope; the tenant is the scope's, which row-level security checks."""
        writes.add(
            self._insert,
            tenant_id,
            [one.id for one in outgoing],
            [one.address.exchange for one in outgoing],
            [one.address.routing_key for one in outgoing],
            [one.body for one in outgoing],
            [json.dumps(one.headers) if one.headers else None for one in outgoing],
            now,
            now + self._resend_after,
        )

    async def read(self, connection: asyncpg.Connection, tenant_id: TenantId, ids: Sequence[str]) -> list[Outgoing]:
        """The rows with these ids that are still there, oldest first. The tenant comes from the column, not from a body."""
        rows = await connection.fetch(self._read, tenant_id, ids)
        return [
            Outgoing(
                tenant_id,
                str(row["id"]),
                Address(row["exchange"], row["routing_key"]),
                row["body"],
                json.loads(row["headers"]) if row["headers"] else None,
            )
            for row in rows
        ]
