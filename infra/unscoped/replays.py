"""What the desk knows of its replays across tenants: ids, numbers and times, never content.

It runs as the sweeper's role. Reading and changing a replay or an item is its tenant's transaction's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId


@dataclass(frozen=True, slots=True)
class FoundReplay:
    """A replay, and whose it is."""

    tenant_id: TenantId
    id: UUID
    planned_at: datetime


@dataclass(frozen=True, slots=True)
class FoundItem:
    """A letter in a replay; `number` is its place in the plan, from 1."""

    tenant_id: TenantId
    replay_id: UUID
    letter_id: UUID
    number: int
    queue: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many items there are in each state, and of those that are on their way how many for each queue."""

    states: dict[str, int]
    on_the_way: dict[str, int]


@dataclass(frozen=True, slots=True)
class Recent:
    """Counts of one replay; `begun`, `outcomes` and `failures` are of what was sent since a given time."""

    is_more_waiting: bool
    on_the_way: int
    begun: int
    outcomes: int
    failures: int


_REPLAY: Final = "tenant_id, id, planned_at"
_ITEM: Final = "tenant_id, replay_id, letter_id, number, queue"
# Whoever holds the lease works on it; what nobody starts in time is forgotten.
_RUNNING: Final = text(
    "SELECT tenant_id, id, planned_at FROM ops.replay WHERE state = 'RUNNING'"
    " AND (lease_until IS NULL OR lease_until <= :now OR lease_holder = :holder) ORDER BY planned_at LIMIT :most"
)
_EXPIRED: Final = text(
    "SELECT tenant_id, id, planned_at FROM ops.replay WHERE state = 'PLANNED' AND expires_at <= :now ORDER BY planned_at LIMIT :most"
)
_ONE: Final = text("SELECT tenant_id, id, planned_at FROM ops.replay WHERE id = :id")
_ACTORS: Final = text("SELECT id, actor FROM ops.replay WHERE id = ANY(:ids)")
_NEXT: Final = text(f"SELECT {_ITEM} FROM ops.replay_item WHERE replay_id = :id AND state = 'WAITING' ORDER BY number LIMIT :most")
_TENANTS: Final = text("SELECT tenant_id FROM ops.replay_part WHERE replay_id = :id ORDER BY tenant_id")
_TALLY: Final = (
    "SELECT state, CASE WHEN state = 'SENT' THEN queue END, count(*) FROM ops.replay_item WHERE replay_id = :id {within}GROUP BY 1, 2"
)
_SEEN_BY: Final = """(tenant_id = :tenant OR (started_at IS NOT NULL
    AND EXISTS (SELECT FROM ops.replay_part AS part WHERE part.replay_id = replay.id AND part.tenant_id = :tenant)))"""
"""A tenant's operator sees its own replays, and those of others that have begun to send its letters."""
_OVERDUE: Final = text(
    "SELECT item.tenant_id, replay_id, letter_id, number, queue, replay.tenant_id FROM ops.replay_item AS item"
    " JOIN ops.replay ON replay.id = replay_id WHERE item.state = 'SENT' AND sent_at <= :before"
    " ORDER BY sent_at LIMIT :most"
)
_RECENT: Final = text(
    """SELECT EXISTS (SELECT FROM ops.replay_item WHERE replay_id = :id AND state = 'WAITING'),
        (SELECT count(*) FROM ops.replay_item WHERE replay_id = :id AND state = 'SENT'),
        (SELECT count(*) FROM (SELECT FROM ops.replay_item WHERE replay_id = :id AND sent_at >= :since LIMIT :begun_max) AS begun),
        count(*), count(*) FILTER (WHERE state = 'FAILED')
    FROM (SELECT state FROM ops.replay_item WHERE replay_id = :id AND ended_at >= :since AND sent_at >= :since
        ORDER BY ended_at DESC LIMIT :window) AS newest"""
)


class ReplaySearch:
    """The desk's view of replays in all tenants."""

    def __init__(self, pool: AsyncEngine) -> None:
        self._pool = pool

    async def running(self, holder: UUID, now: datetime, most: int) -> list[FoundReplay]:
        """Replays to execute: those that nobody executes now, or `holder` does."""
        return [FoundReplay(*row) for row in await self._rows(_RUNNING, now=now, holder=holder, most=most)]

    async def expired(self, now: datetime, most: int) -> list[FoundReplay]:
        """Plans that nobody has started in time."""
        return [FoundReplay(*row) for row in await self._rows(_EXPIRED, now=now, most=most)]

    async def one(self, id: UUID) -> FoundReplay | None:
        """The replay with this id, whosever it is."""
        rows = await self._rows(_ONE, id=id)
        return FoundReplay(*rows[0]) if rows else None

    async def is_seen_by(self, id: UUID, tenant_id: TenantId) -> bool:
        """Whether an operator of that tenant may know of the replay."""
        return bool(await self._rows(text(f"SELECT 1 FROM ops.replay WHERE id = :id AND {_SEEN_BY}"), id=id, tenant=tenant_id))

    async def page(
        self, tenant_id: TenantId | None, state: str | None, after: tuple[datetime, UUID] | None, most: int, now: datetime
    ) -> list[FoundReplay]:
        """Replays, the newest first; plans that nobody started in time only if their state is asked for."""
        given: dict[str, Any] = {"most": most, "now": now}
        expired = "(state = 'EXPIRED' OR (state = 'PLANNED' AND expires_at <= :now))"
        conditions = [expired if state == "EXPIRED" else f"NOT {expired}"]
        if tenant_id is not None:
            conditions.append(_SEEN_BY)
            given["tenant"] = tenant_id
        if state not in (None, "EXPIRED"):
            conditions.append("state = :state")
            given["state"] = state
        if after is not None:
            conditions.append("(planned_at, id) < (:planned_at, :id)")
            given |= {"planned_at": after[0], "id": after[1]}
        sql = f"SELECT {_REPLAY} FROM ops.replay WHERE {' AND '.join(conditions)} ORDER BY planned_at DESC, id DESC LIMIT :most"
        return [FoundReplay(*row) for row in await self._rows(text(sql), **given)]

    async def actors(self, ids: Collection[UUID]) -> dict[UUID, str]:
        """Who planned each of these replays."""
        return {row.id: row.actor for row in await self._rows(_ACTORS, ids=list(ids))}

    async def next_items(self, replay_id: UUID, most: int) -> list[FoundItem]:
        """What is to be sent next, in the order of the plan."""
        return [FoundItem(*row) for row in await self._rows(_NEXT, id=replay_id, most=most)]

    async def items(self, replay_id: UUID, state: str | None, after: int, most: int) -> list[FoundItem]:
        """Items after the given place in the plan."""
        further = "AND state = :state " if state is not None else ""
        sql = f"SELECT {_ITEM} FROM ops.replay_item WHERE replay_id = :id AND number > :after {further}ORDER BY number LIMIT :most"
        given = {"id": replay_id, "after": after, "most": most} | ({"state": state} if state is not None else {})
        return [FoundItem(*row) for row in await self._rows(text(sql), **given)]

    async def items_of(self, tenant_id: TenantId, replay_id: UUID, state: str | None, after: int, most: int) -> list[FoundItem]:
        """Items of one tenant after so many of them: their places in the plan would tell how many letters of others are in it."""
        further = "AND state = :state " if state is not None else ""
        sql = (
            f"SELECT {_ITEM} FROM ops.replay_item WHERE tenant_id = :tenant AND replay_id = :id {further}"
            "ORDER BY number OFFSET :after LIMIT :most"
        )
        given = {"id": replay_id, "tenant": tenant_id, "after": after, "most": most} | ({"state": state} if state is not None else {})
        return [FoundItem(*row) for row in await self._rows(text(sql), **given)]

    async def overdue(self, before: datetime, most: int) -> list[tuple[FoundItem, TenantId]]:
        """What was sent before then and has no outcome, whatever its replay's state, and whose the replay is."""
        return [(FoundItem(*key), TenantId(owner)) for *key, owner in await self._rows(_OVERDUE, before=before, most=most)]

    async def tenants(self, replay_id: UUID) -> list[TenantId]:
        """Whose letters are in it, in order."""
        return [TenantId(tenant_id) for (tenant_id,) in await self._rows(_TENANTS, id=replay_id)]

    async def tally(self, replay_id: UUID, within: TenantId | None = None) -> Tally:
        """How far the replay has come, or the part of one tenant's letters."""
        given = {"id": replay_id} | ({"tenant": within} if within is not None else {})
        sql = text(_TALLY.format(within="AND tenant_id = :tenant " if within is not None else ""))
        states: dict[str, int] = {}
        on_the_way: dict[str, int] = {}
        for state, queue, number in await self._rows(sql, **given):
            states[state] = states.get(state, 0) + number
            if queue is not None:
                on_the_way[queue] = number
        return Tally(states, on_the_way)

    async def recent(self, replay_id: UUID, since: datetime, begun_max: int, window: int) -> Recent:
        """What deciding on the next step needs; counts what was begun up to `begun_max`, and of the outcomes the newest `window`.

        Its cost must not grow with the replay: it is asked for at each step, while the replay is locked.
        """
        [row] = await self._rows(_RECENT, id=replay_id, since=since, begun_max=begun_max, window=window)
        return Recent(*row)

    async def _rows(self, sql: Any, **given: Any) -> Sequence[Any]:
        async with self._pool.connect() as connection:
            return (await connection.execute(sql, given)).all()
