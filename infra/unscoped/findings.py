"""What is found across tenants of the operators' audit and of the findings of reconciling: ids, times and kinds, never what they say.

It runs as the role ops_sweeper, which may read these columns only. It has its importers
listed in the import contracts. Reading an entry or a finding happens inside its tenant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry of the audit."""

    tenant_id: TenantId
    id: UUID
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedEntries:
    """Which entries: of one tenant, letter or replay if it is given; `outcomes`: what came of letters of replays, or else what was done."""

    tenant_id: TenantId | None = None
    letter_id: UUID | None = None
    replay_id: UUID | None = None
    outcomes: bool | None = None


class AuditSearch:
    """What entries there are. `pool` is one of the role ops_sweeper."""

    def __init__(self, pool: AsyncEngine) -> None:
        self._pool = pool

    async def page(self, wanted: WantedEntries, after: tuple[datetime, UUID] | None, most: int) -> list[FoundEntry]:
        """At most `most` entries, the newest first, after the one of this time and id.

        Whoever looks at all tenants is told once what was done with a replay, not once for each of its tenants as well.
        """
        names = ("tenant_id", "letter_id", "replay_id")
        given: dict[str, Any] = {name: value for name in names if (value := getattr(wanted, name)) is not None}
        conditions = [f"{name} = :{name}" for name in given]
        if wanted.tenant_id is None:
            conditions.append("NOT is_copy")
        if wanted.outcomes is not None:
            conditions.append("verb IN ('replay', 'settle')" if wanted.outcomes else "verb NOT IN ('replay', 'settle')")
        if after is not None:
            conditions.append("(at, id) < (:at, :id)")
            given |= {"at": after[0], "id": after[1]}
        # The bound is a literal: with a parameter the plan would be one for a tenth of the table.
        fits = " AND ".join(conditions) or "true"
        sql = f"SELECT tenant_id, id, at FROM ops.audit WHERE {fits} ORDER BY at DESC, id DESC LIMIT {int(most)}"
        async with self._pool.connect() as connection:
            return [FoundEntry(TenantId(tenant_id), id, at) for tenant_id, id, at in await connection.execute(text(sql), given)]


class OpenFindings:
    """What is wrong with anybody's books. `pool` is one of the role ops_sweeper."""

    def __init__(self, pool: AsyncEngine) -> None:
        self._pool = pool
        self._tenants = text("SELECT DISTINCT tenant_id FROM ops.finding WHERE gone_at IS NULL ORDER BY tenant_id")
        self._count = text("SELECT kind, count(*) AS number FROM ops.finding WHERE gone_at IS NULL AND accepted_at IS NULL GROUP BY kind")

    async def tenants(self) -> list[TenantId]:
        """Those in whose books something is wrong."""
        return [TenantId(row.tenant_id) for row in await self._rows(self._tenants)]

    async def count(self) -> dict[str, int]:
        """How many of each kind nobody has accepted."""
        return {row.kind: row.number for row in await self._rows(self._count)}

    async def _rows(self, statement: Any) -> Sequence[Any]:
        async with self._pool.connect() as connection:
            return (await connection.execute(statement)).all()
