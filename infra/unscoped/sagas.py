"""The operators' search across tenants: ids, times and where a saga stands, never content (neither the order nor any answer).

It runs as the sweeper's role, which may read these columns only. It has its
importers listed in the import contracts: only the operators' search and verbs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import SagaId, TenantId


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which sagas are looked for: those that fit everything that is given."""

    state: str | None = None
    tenant_id: TenantId | None = None
    saga: str | None = None
    """The name of its definition."""
    subject: str | None = None
    step: str | None = None
    """One of those that it waits for."""
    fingerprint: str | None = None
    started_before: datetime | None = None
    stuck: bool = False


@dataclass(frozen=True, kw_only=True)
class FoundSaga:
    """One saga as it is listed. `rank`: 0 waits for people, 1 is stuck, 2 neither."""

    tenant_id: TenantId
    id: SagaId
    name: str
    version: int
    subject: str
    state: str
    revision: int
    step: str | None
    fingerprint: str | None
    started_at: datetime
    changed_at: datetime
    progressed_at: datetime
    stuck_at: datetime | None
    rank: int = 2


@dataclass(frozen=True)
class Position:
    """After which row a page begins; `at` is the time at which the first page said what is stuck."""

    at: datetime
    rank: int
    started_at: datetime
    id: UUID


@dataclass(frozen=True)
class Counts:
    """How many open sagas there are of each kind."""

    total: int = 0
    state: Counter[str] = field(default_factory=Counter)
    step: Counter[str] = field(default_factory=Counter)
    tenant: Counter[str] = field(default_factory=Counter)
    saga: Counter[str] = field(default_factory=Counter)


_FACTS_MAX: Final = 10_000
"""Facts of one journey that are looked at."""
_ENDS: Final = ("COMPLETED", "ABANDONED")
_ENDED: Final = "state IN ('COMPLETED', 'ABANDONED')"
_FOR_PEOPLE: Final = "state IN ('NEEDS_ATTENTION', 'PARKED', 'PAUSED')"
_WAKING: Final = f"wake_at IS NOT NULL AND NOT {_FOR_PEOPLE}"
"""Together with _FOR_PEOPLE all open ones: what waits for no person has something to wake for. Each is what an index holds."""
_LISTED: Final = (
    "tenant_id, id, name, version, subject, state, revision, step, fingerprint, started_at, changed_at, progressed_at, stuck_at,"
    " CASE WHEN state IN ('NEEDS_ATTENTION', 'PARKED') THEN 0 WHEN stuck_at < :at THEN 1 ELSE 2 END AS rank"
)
_CONDITIONS: Final = {
    "state": "state = :state",
    "tenant_id": "tenant_id = :tenant_id",
    "saga": "name = :saga",
    "subject": "subject = :subject",
    "step": ":step = ANY(string_to_array(step, ', '))",
    "fingerprint": "fingerprint = :fingerprint",
    "started_before": "started_at <= :started_before",
    "stuck": "stuck_at < :at",
}


class SagaSearch:
    """The operators' view of the sagas: what there is and how it stands. Reading and changing one is its tenant's transaction's."""

    def __init__(self, schema: str, pool: AsyncEngine) -> None:
        self._schema = schema
        self._pool = pool

    async def page(self, wanted: Wanted, at: datetime, after: Position | None, most: int) -> list[FoundSaga]:
        """At most `most` sagas: those that wait for people first, then stuck ones, then the rest; the newest of each first."""
        branches = [self._open(wanted)] if wanted.subject or wanted.state not in _ENDS else []
        # What has ended waits for nothing.
        if wanted.state in (None, *_ENDS) and not (wanted.subject or wanted.step or wanted.fingerprint or wanted.stuck):
            branches.append(self._ended(wanted, after, most))
        if not branches:
            return []
        position, place = _after(after)
        found = " UNION ALL ".join(f"({branch})" for branch in branches)
        # The bound is a literal: with a parameter the plan would be one for a tenth of the table.
        sql = f"SELECT * FROM ({found}) AS found WHERE {position} ORDER BY rank, started_at DESC, id DESC LIMIT {int(most)}"
        return await self._found(sql, wanted, at, **place)

    async def open(self, wanted: Wanted, at: datetime, after: UUID | None, most: int) -> list[FoundSaga]:
        """At most `most` sagas that have not ended, in the order of their ids, after the given id."""
        further = f"NOT {_ENDED}" + (" AND id > :after" if after else "")
        sql = f"SELECT * FROM ({self._open(wanted)}) AS found WHERE {further} ORDER BY id LIMIT {int(most)}"
        return await self._found(sql, wanted, at, **({"after": after} if after else {}))

    async def count(self, wanted: Wanted, at: datetime) -> Counts:
        """How many sagas that have not ended fit."""
        sql = (
            f"SELECT state, coalesce(step, ''), tenant_id, name, count(*) FROM ({self._open(wanted)}) AS found"
            f" WHERE NOT {_ENDED} GROUP BY 1, 2, 3, 4"
        )
        counts = Counts()
        total = 0
        async with self._pool.connect() as connection:
            for state, steps, tenant_id, name, number in await connection.execute(text(sql), _given(wanted) | {"at": at}):
                total += number
                counts.state[state] += number
                counts.tenant[str(tenant_id)] += number
                counts.saga[name] += number
                for step in steps.split(", ") if steps else ():
                    counts.step[step] += number
        return Counts(total, counts.state, counts.step, counts.tenant, counts.saga)

    async def tenant_of(self, id: SagaId) -> TenantId | None:
        """Whose saga that is; None if there is none."""
        parts = [f"SELECT tenant_id FROM {self._schema}.saga WHERE id = :id AND {part}" for part in (_ENDED, _FOR_PEOPLE, _WAKING)]
        found = await self._keys(" UNION ALL ".join(parts), {"id": id})
        return TenantId(found[0][0]) if found else None

    async def about(self, subject: str, most: int) -> list[tuple[TenantId, str]]:
        """The tenants that have sagas about this subject, with the subject."""
        sql = f"SELECT DISTINCT tenant_id, subject FROM {self._schema}.saga WHERE subject = :subject LIMIT {int(most)}"
        return [(TenantId(tenant_id), found) for tenant_id, found in await self._keys(sql, {"subject": subject})]

    async def of_message(self, message_id: UUID, most: int) -> list[tuple[TenantId, SagaId]]:
        """The sagas that this event started or that sent this command."""
        return await self._of_event("message_id = :sought", message_id, most)

    async def of_trace(self, trace_id: str, most: int) -> list[tuple[TenantId, SagaId]]:
        """The sagas that this journey went through; `trace_id` is 32 hexadecimal digits."""
        return await self._of_event("trace_id = :sought", trace_id, most)

    async def _of_event(self, condition: str, sought: UUID | str, most: int) -> list[tuple[TenantId, SagaId]]:
        # Apart from DISTINCT, or a plan that reads the whole table in the order of its key would look cheap.
        facts = f"SELECT tenant_id, saga_id FROM {self._schema}.saga_event WHERE {condition} LIMIT {_FACTS_MAX}"
        sql = f"WITH fact AS MATERIALIZED ({facts}) SELECT DISTINCT tenant_id, saga_id FROM fact LIMIT {int(most)}"
        return [(TenantId(tenant_id), SagaId(id)) for tenant_id, id in await self._keys(sql, {"sought": sought})]

    async def _found(self, sql: str, wanted: Wanted, at: datetime, **more: Any) -> list[FoundSaga]:
        async with self._pool.connect() as connection:
            rows = await connection.execute(text(sql), _given(wanted) | {"at": at} | more)
            return [FoundSaga(**row._mapping) for row in rows]

    async def _keys(self, sql: str, given: dict[str, Any]) -> Sequence[Any]:
        async with self._pool.connect() as connection:
            return (await connection.execute(text(sql), given)).all()

    def _open(self, wanted: Wanted) -> str:
        """The open ones that fit; with a subject its ended ones as well, since their index finds a handful at once."""
        if wanted.subject:
            return f"SELECT {_LISTED} FROM {self._schema}.saga WHERE {_fits(wanted)}"
        parts = [f"SELECT {_LISTED} FROM {self._schema}.saga WHERE {part} AND {_fits(wanted)}" for part in (_FOR_PEOPLE, _WAKING)]
        return " UNION ALL ".join(parts)

    def _ended(self, wanted: Wanted, after: Position | None, most: int) -> str:
        """The newest ended ones that fit, of each name and state by itself: so their index gives them in order, however few fit."""
        table = f"{self._schema}.saga WHERE {_ENDED}" + (" AND tenant_id = :tenant_id" if wanted.tenant_id else "")
        first = f"SELECT name, state FROM {table} ORDER BY name, state LIMIT 1"
        later = f"SELECT name, state FROM {table} AND (name, state) > (kind.name, kind.state) ORDER BY name, state LIMIT 1"
        further = "AND (started_at, id) < (:started_at, :id)" if after and after.rank == 2 else ""
        kinds = " AND ".join(f"kind.{_CONDITIONS[one]}" for one in ("state", "saga") if getattr(wanted, one)) or "true"
        return (
            f"WITH RECURSIVE kind AS (({first}) UNION ALL SELECT later.* FROM kind CROSS JOIN LATERAL ({later}) AS later)"
            f" SELECT newest.* FROM kind CROSS JOIN LATERAL (SELECT {_LISTED} FROM {table} AND name = kind.name AND state = kind.state"
            f" AND {_fits(wanted)} {further} ORDER BY started_at DESC, id DESC LIMIT {int(most)}) AS newest WHERE {kinds}"
        )


def _given(wanted: Wanted) -> dict[str, Any]:
    return {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) and name != "stuck"}


def _fits(wanted: Wanted) -> str:
    return " AND ".join(condition for name, condition in _CONDITIONS.items() if getattr(wanted, name)) or "true"


def _after(after: Position | None) -> tuple[str, dict[str, Any]]:
    if after is None:
        return "true", {}
    place = {"rank": after.rank, "started_at": after.started_at, "id": after.id}
    return "(rank > :rank OR (rank = :rank AND (started_at, id) < (:started_at, :id)))", place
