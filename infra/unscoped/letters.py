"""The operators' search for dead letters across tenants: ids, times and where a letter stands, never what is in it or why it died.

It runs as the role ops_sweeper, which may read these columns only. It has its
importers listed in the import contracts. Reading a letter and acting on it happen inside its tenant.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import SagaId, TenantId

NamedBy = Literal["queue", "service", "type"]
"""Columns that hold names which a release knows, and may no longer know."""
GROUPS_MAX: Final = 200
"""Groups that one look gives, those with most letters."""


@dataclass(frozen=True, kw_only=True)
class WantedLetters:
    """Which letters are looked for: those that fit everything that is given, in one tenant or in all. Without a state, the open ones."""

    state: str | None = None
    tenant_id: TenantId | None = None
    queue: str | None = None
    service: str | None = None
    type: str | None = None
    saga_id: UUID | None = None
    message_id: UUID | None = None
    fingerprint: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    attempts_min: int | None = None
    native: bool | None = None
    readable: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLetter:
    """One letter as it is listed."""

    tenant_id: TenantId
    id: UUID
    queue: str
    service: str
    type: str
    message_id: UUID | None
    saga_id: SagaId | None
    subject: str
    trace_id: str | None
    state: str
    fingerprint: str
    exception_type: str
    build: str
    attempts: int
    deaths: int
    replays_in_vain: int
    is_native: bool
    is_readable: bool
    sent_at: datetime | None
    first_died_at: datetime
    died_at: datetime
    changed_at: datetime
    revision: int
    replay_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The letters of one cause. Each counter says how many of them have what; `sample` is the newest."""

    fingerprint: str
    exception_type: str
    count: int
    first_seen: datetime
    last_seen: datetime
    tenants: int
    queues: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    services: Counter[str] = field(default_factory=Counter)
    builds: Counter[str] = field(default_factory=Counter)
    sample: tuple[TenantId, UUID]


@dataclass(frozen=True)
class Groups:
    """The largest groups, the letters that fit, and how many causes they have."""

    groups: Sequence[Group]
    total: int
    causes: int


@dataclass(frozen=True)
class LetterCounts:
    """How many letters fit, and how many of each kind."""

    total: int = 0
    queue: Counter[str] = field(default_factory=Counter)
    tenant: Counter[str] = field(default_factory=Counter)
    type: Counter[str] = field(default_factory=Counter)


_LISTED: Final = ", ".join(FoundLetter.__slots__)
_OPEN: Final = "state IN ('DEAD', 'REPLAYING')"
_CONDITIONS: Final = {
    "state": "state = :state",
    "tenant_id": "tenant_id = :tenant_id",
    "queue": "queue = :queue",
    "service": "service = :service",
    "type": "type = :type",
    "saga_id": "saga_id = :saga_id",
    "message_id": "message_id = :message_id",
    "fingerprint": "fingerprint = :fingerprint",
    "since": "died_at >= :since",
    "until": "died_at < :until",
    "attempts_min": "attempts >= :attempts_min",
    "native": "is_native = :native",
    "readable": "is_readable = :readable",
}
# Counted in two steps, because counting distinct tenants in one would sort all letters.
_GROUPS: Final = """
    WITH cell AS MATERIALIZED (
        SELECT fingerprint, queue, type, service, build, tenant_id, max(exception_type) AS exception_type, count(*) AS number,
            min(first_died_at) AS first_seen, max(died_at) AS last_seen
        FROM ops.letter WHERE {fits} GROUP BY fingerprint, queue, type, service, build, tenant_id),
    cause AS MATERIALIZED (
        SELECT fingerprint, max(exception_type) AS exception_type, sum(number) AS number, min(first_seen) AS first_seen,
            max(last_seen) AS last_seen, count(DISTINCT tenant_id) AS tenants, count(*) OVER () AS causes, sum(sum(number)) OVER () AS total
        FROM cell GROUP BY fingerprint ORDER BY number DESC, last_seen DESC, fingerprint LIMIT {most}),
    part AS (
        SELECT fingerprint, queue, type, service, build, sum(number) AS number FROM cell
        WHERE fingerprint IN (SELECT fingerprint FROM cause) GROUP BY fingerprint, queue, type, service, build)
    SELECT cause.*, newest.tenant_id, newest.id,
        (SELECT json_agg(json_build_array(queue, type, service, build, number))::text FROM part WHERE part.fingerprint = cause.fingerprint)
    FROM cause CROSS JOIN LATERAL (
        SELECT tenant_id, id FROM ops.letter WHERE fingerprint = cause.fingerprint AND {fits} ORDER BY died_at DESC, id DESC LIMIT 1
    ) AS newest ORDER BY number DESC, last_seen DESC, fingerprint"""


class LetterSearch:
    """What letters there are. `pool` is one of the role ops_sweeper."""

    def __init__(self, pool: AsyncEngine) -> None:
        self._pool = pool

    async def page(self, wanted: WantedLetters, after: tuple[datetime, UUID] | None, most: int) -> list[FoundLetter]:
        """At most `most` letters, those that died last first, after the one that died at this time with this id."""
        position = " AND (died_at, id) < (:died_at, :id)" if after else ""
        place = {"died_at": after[0], "id": after[1]} if after else {}
        # The bound is a literal: with a parameter the plan would be one for a tenth of the table.
        sql = f"SELECT {_LISTED} FROM ops.letter WHERE {_fits(wanted)}{position} ORDER BY died_at DESC, id DESC LIMIT {int(most)}"
        return [FoundLetter(**row._mapping) for row in await self._rows(sql, _given(wanted) | place)]

    async def groups(self, wanted: WantedLetters) -> Groups:
        """The letters by cause, the largest groups first, at most GROUPS_MAX of them."""
        rows = await self._rows(_GROUPS.format(fits=_fits(wanted), most=GROUPS_MAX), _given(wanted))
        return Groups([_group(row) for row in rows], int(rows[0].total) if rows else 0, rows[0].causes if rows else 0)

    async def count(self, wanted: WantedLetters) -> LetterCounts:
        """How many fit."""
        sql = f"SELECT queue, tenant_id, type, count(*) FROM ops.letter WHERE {_fits(wanted)} GROUP BY 1, 2, 3"
        counts = LetterCounts()
        total = 0
        for queue, tenant_id, type_, number in await self._rows(sql, _given(wanted)):
            total += number
            counts.queue[queue] += number
            counts.tenant[str(tenant_id)] += number
            counts.type[type_] += number
        return LetterCounts(total, counts.queue, counts.tenant, counts.type)

    async def ids(self, wanted: WantedLetters, after: tuple[TenantId, UUID] | None, most: int) -> list[tuple[TenantId, UUID]]:
        """At most `most` letters in the order of their tenants and ids, after this one: for whoever acts on all of them, piece by piece."""
        position = " AND (tenant_id, id) > (:after_tenant, :after_id)" if after else ""
        place = {"after_tenant": after[0], "after_id": after[1]} if after else {}
        sql = f"SELECT tenant_id, id FROM ops.letter WHERE {_fits(wanted)}{position} ORDER BY tenant_id, id LIMIT {int(most)}"
        return [(TenantId(tenant_id), id) for tenant_id, id in await self._rows(sql, _given(wanted) | place)]

    async def by_tenant(self, wanted: WantedLetters, most: int) -> dict[TenantId, list[UUID]]:
        """At most `most` letters, by tenant: thousands at once, one row for each tenant."""
        fits = f"SELECT tenant_id, id FROM ops.letter WHERE {_fits(wanted)} LIMIT {int(most)}"
        sql = f"SELECT tenant_id, array_agg(id) FROM ({fits}) AS fits GROUP BY tenant_id ORDER BY tenant_id"
        return {TenantId(tenant_id): ids for tenant_id, ids in await self._rows(sql, _given(wanted))}

    async def tenants_of(self, ids: Collection[UUID], within: TenantId | None) -> dict[UUID, TenantId]:
        """Whose letters these are, whatever their state; an id that there is not, or not `within` this tenant, is left out."""
        only = " AND tenant_id = :within" if within is not None else ""
        given = {"ids": list(ids)} | ({"within": within} if within is not None else {})
        rows = await self._rows(f"SELECT id, tenant_id FROM ops.letter WHERE id = ANY(:ids){only}", given)
        return {id: TenantId(tenant_id) for id, tenant_id in rows}

    async def tenant_of(self, id: UUID, within: TenantId | None) -> TenantId | None:
        """Whose letter that is; None if there is none, or not `within` this tenant."""
        return (await self.tenants_of([id], within)).get(id)

    async def has(self, column: NamedBy, value: str, within: TenantId | None) -> bool:
        """Whether any letter, whatever its state, says that; only `within` this tenant if there is one."""
        only = " AND tenant_id = :within" if within is not None else ""
        given = {"value": value} | ({"within": within} if within is not None else {})
        [row] = await self._rows(f"SELECT EXISTS (SELECT FROM ops.letter WHERE {column} = :value{only})", given)
        return bool(row[0])

    async def known(self, fingerprints: Collection[str]) -> set[str]:
        """Those of which there is a letter."""
        sql = (
            "SELECT given.fingerprint FROM unnest(CAST(:fingerprints AS text[])) AS given (fingerprint)"
            " WHERE EXISTS (SELECT FROM ops.letter WHERE letter.fingerprint = given.fingerprint)"
        )
        return {row[0] for row in await self._rows(sql, {"fingerprints": list(fingerprints)})}

    async def closed_before(self, before: datetime, most: int) -> list[tuple[TenantId, UUID]]:
        """At most `most` letters that were settled or archived before that."""
        closed = "SELECT tenant_id, id FROM ops.letter WHERE state = '{}' AND changed_at < :before"
        sql = f"{closed.format('SETTLED')} UNION ALL {closed.format('ARCHIVED')} LIMIT {int(most)}"
        return [(TenantId(tenant_id), id) for tenant_id, id in await self._rows(sql, {"before": before})]

    async def depth(self) -> list[tuple[str, str, int, datetime]]:
        """Queue, state, number, and when the one that has waited longest died first: of what is open."""
        rows = await self._rows(f"SELECT queue, state, count(*), min(first_died_at) FROM ops.letter WHERE {_OPEN} GROUP BY 1, 2", {})
        return [(queue, state, number, oldest) for queue, state, number, oldest in rows]

    async def _rows(self, sql: str, given: dict[str, Any]) -> Sequence[Any]:
        async with self._pool.connect() as connection:
            return (await connection.execute(text(sql), given)).all()


def _given(wanted: WantedLetters) -> dict[str, Any]:
    return {name: value for name in _CONDITIONS if (value := getattr(wanted, name)) is not None}


def _fits(wanted: WantedLetters) -> str:
    given = [condition for name, condition in _CONDITIONS.items() if getattr(wanted, name) is not None]
    return " AND ".join(given if wanted.state is not None else [_OPEN, *given])


def _group(row: Any) -> Group:
    *facts, parts = row
    fingerprint, exception_type, number, first_seen, last_seen, tenants, _causes, _total, tenant_id, id = facts
    group = Group(
        fingerprint=fingerprint,
        exception_type=exception_type,
        count=int(number),
        first_seen=first_seen,
        last_seen=last_seen,
        tenants=tenants,
        sample=(TenantId(tenant_id), id),
    )
    for *names, part in json.loads(parts):
        for counter, name in zip((group.queues, group.types, group.services, group.builds), names, strict=True):
            counter[name] += part
    return group
