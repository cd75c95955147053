"""The tables `ops.replay` and `ops.replay_item`: all SQL that reads or changes them, one tenant at a time.

Lock order: the replay, which its operator's tenant has, comes first; then tenants in order, and in each the letters before their items,
both sorted. Whatever is found across tenants, infra/unscoped/replays.py finds.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.values import TenantId
from infra.rows import require_updated
from infra.transaction import Scope
from infra.wire_values import Row
from services.ops.replay.machine import ItemState, Pace, Replay, State, may_become

_REPLAY: Final = """tenant_id, id, state, actor, reason, filter, includes_ended, total, summary, planned_at, expires_at, rate, canary,
    stop_above_percent, is_trusted, detail, counted_since, started_at, ended_at"""
_INSERT: Final = f"""
    INSERT INTO ops.replay ({_REPLAY})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"""  # noqa: S608 - names of columns
_READ: Final = f"""
    SELECT {_REPLAY} FROM ops.replay WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY planned_at DESC, id DESC"""  # noqa: S608 - as above
_LOCK: Final = f"SELECT {_REPLAY} FROM ops.replay WHERE tenant_id = $1 AND id = $2 FOR UPDATE"  # noqa: S608 - as above
_SAVE: Final = """
    UPDATE ops.replay SET state = $3, rate = $4, canary = $5, stop_above_percent = $6, is_trusted = $7, detail = $8, counted_since = $9,
        started_at = $10, ended_at = $11
    WHERE tenant_id = $1 AND id = $2"""
# Locks it as well: whoever pauses or cancels waits for what is being sent, and nothing is sent after they are done.
_LEASE: Final = f"""
    UPDATE ops.replay SET lease_holder = $3, lease_until = $4
    WHERE tenant_id = $1 AND id = $2 AND state = 'RUNNING' AND (lease_holder = $3 OR lease_until IS NULL OR lease_until <= $5)
    RETURNING {_REPLAY}"""  # noqa: S608 - as above
_ADD_ITEMS: Final = """
    INSERT INTO ops.replay_item (tenant_id, replay_id, letter_id, number, queue, state, revision, deaths, detail)
    SELECT $1, $2, letter_id, number, queue, 'WAITING', revision, deaths, ''
    FROM unnest($3::uuid[], $4::integer[], $5::text[], $6::integer[], $7::integer[])
        AS given (letter_id, number, queue, revision, deaths)"""
_LOCK_ITEMS: Final = """
    SELECT letter_id, number, queue, state, revision, deaths, sends, sent_at, ended_at, detail FROM ops.replay_item
    WHERE tenant_id = $1 AND replay_id = $2 AND letter_id = ANY($3::uuid[]) ORDER BY letter_id FOR UPDATE"""
_READ_ITEMS: Final = """
    SELECT letter_id, number, queue, state, revision, deaths, sends, sent_at, ended_at, detail FROM ops.replay_item
    WHERE tenant_id = $1 AND replay_id = $2 AND letter_id = ANY($3::uuid[])"""
_SENT: Final = """
    UPDATE ops.replay_item SET state = 'SENT', sends = sends + 1, sent_at = $4
    WHERE tenant_id = $1 AND replay_id = $2 AND letter_id = ANY($3::uuid[]) AND state = ANY($5::text[])"""
_SENT_AMONG: Final = """
    SELECT replay_id, letter_id FROM ops.replay_item WHERE tenant_id = $1 AND sends > 0
        AND (replay_id, letter_id) IN (SELECT * FROM unnest($2::uuid[], $3::uuid[]))"""
_END: Final = """
    UPDATE ops.replay_item AS item SET state = $5, detail = given.detail, ended_at = $6
    FROM unnest($2::uuid[], $3::uuid[], $4::text[]) AS given (replay_id, letter_id, detail)
    WHERE item.tenant_id = $1 AND item.replay_id = given.replay_id AND item.letter_id = given.letter_id AND item.state = ANY($7::text[])
    RETURNING item.replay_id, item.letter_id, item.queue, item.detail"""
_CANCEL_THE_REST: Final = """
    UPDATE ops.replay_item SET state = 'CANCELLED', detail = $3, ended_at = $4
    WHERE tenant_id = $1 AND replay_id = $2 AND state = ANY($5::text[])
    RETURNING replay_id, letter_id, queue, detail"""
_FORGET: Final = "DELETE FROM ops.replay_item WHERE tenant_id = $1 AND replay_id = $2 AND state = 'WAITING'"
_DETAIL_CHARACTERS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Planned:
    """A letter as it was when it was planned; `number` is its place in the plan, from 1."""

    letter_id: UUID
    number: int
    queue: str
    revision: int
    deaths: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(Planned):
    """A letter in a replay, and what has come of it."""

    state: ItemState
    sends: int
    sent_at: datetime | None
    ended_at: datetime | None
    detail: str

    def is_on_its_way_since(self, before: datetime) -> bool:
        """It has no outcome, and was sent last at `before` or earlier."""
        return self.state is ItemState.SENT and self.sent_at is not None and self.sent_at <= before


@dataclass(frozen=True, slots=True)
class End:
    """What came of one item, and why; `death_id` if it died again."""

    replay_id: UUID
    letter_id: UUID
    detail: str = ""
    death_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Ended(End):
    """An item that has come to its end just now; `queue` is where its letter died."""

    queue: str = ""


async def add(scope: Scope, replay: Replay) -> None:
    """A new plan."""
    await scope.connection.execute(
        _INSERT,
        replay.tenant_id,
        replay.id,
        replay.state,
        replay.actor,
        replay.reason,
        replay.filter,
        replay.includes_ended,
        replay.total,
        replay.summary,
        replay.planned_at,
        replay.expires_at,
        *_pace(replay),
    )


async def read(scope: Scope, ids: Sequence[UUID]) -> list[Replay]:
    """These replays of the scope's tenant, the newest first; another's are not there."""
    return [_replay(row) for row in await scope.connection.fetch(_READ, scope.tenant_id, list(ids))]


async def lock(scope: Scope, id: UUID) -> Replay | None:
    """The replay, locked, if it is the scope's tenant's."""
    row = await scope.connection.fetchrow(_LOCK, scope.tenant_id, id)
    return None if row is None else _replay(row)


async def lease(scope: Scope, id: UUID, holder: UUID, until: datetime) -> Replay | None:
    """The replay, locked, and nobody else's until then; None if it does not run or somebody else executes it."""
    row = await scope.connection.fetchrow(_LEASE, scope.tenant_id, id, holder, until, scope.now)
    return None if row is None else _replay(row)


async def save(scope: Scope, replay: Replay) -> None:
    """Write what changed; the replay is locked."""
    done = await scope.connection.execute(_SAVE, scope.tenant_id, replay.id, replay.state, *_pace(replay))
    require_updated(done, 1)


async def add_items(scope: Scope, replay_id: UUID, items: Sequence[Planned]) -> None:
    """The plan's letters of this tenant, in one statement."""
    columns = [[getattr(item, field.name) for item in items] for field in fields(Planned)]
    await scope.connection.execute(_ADD_ITEMS, scope.tenant_id, replay_id, *columns)


async def lock_items(scope: Scope, replay_id: UUID, letter_ids: Sequence[UUID]) -> list[Item]:
    """These items, locked; their letters are locked already."""
    return _items(await scope.connection.fetch(_LOCK_ITEMS, scope.tenant_id, replay_id, list(letter_ids)))


async def read_items(scope: Scope, replay_id: UUID, letter_ids: Sequence[UUID]) -> list[Item]:
    """These items of the scope's tenant."""
    return _items(await scope.connection.fetch(_READ_ITEMS, scope.tenant_id, replay_id, list(letter_ids)))


async def sent_among(scope: Scope, keys: Collection[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Those of these items, by replay and letter, that were sent at least once, whatever became of them. What was sent stays sent."""
    ids = [replay_id for replay_id, _ in keys], [letter_id for _, letter_id in keys]
    return {(row["replay_id"], row["letter_id"]) for row in await scope.connection.fetch(_SENT_AMONG, scope.tenant_id, *ids)}


async def note_sent(scope: Scope, replay_id: UUID, letter_ids: Sequence[UUID]) -> None:
    """These items are on their way, once more if they were; all are locked."""
    before = may_become(ItemState.SENT)
    require_updated(await scope.connection.execute(_SENT, scope.tenant_id, replay_id, list(letter_ids), scope.now, before), len(letter_ids))


async def end_items(scope: Scope, state: ItemState, ends: Sequence[End]) -> list[Ended]:
    """This is what came of these items; one from whose state it cannot come stays as it is, and is not among those returned."""
    if not ends:
        return []
    ids = [end.replay_id for end in ends], [end.letter_id for end in ends]
    details = [end.detail[:_DETAIL_CHARACTERS_MAX] for end in ends]
    rows = await scope.connection.fetch(_END, scope.tenant_id, *ids, details, state, scope.now, may_become(state))
    deaths = {(end.replay_id, end.letter_id): end.death_id for end in ends}
    return [Ended(**dict(row), death_id=deaths[row["replay_id"], row["letter_id"]]) for row in rows]


async def cancel_the_rest(scope: Scope, replay_id: UUID, why: str) -> list[Ended]:
    """What waits in this tenant will not be sent; returns it."""
    before = may_become(ItemState.CANCELLED)
    rows = await scope.connection.fetch(_CANCEL_THE_REST, scope.tenant_id, replay_id, why[:_DETAIL_CHARACTERS_MAX], scope.now, before)
    return [Ended(**dict(row)) for row in rows]


async def forget_items(scope: Scope, replay_id: UUID) -> None:
    """Nothing was sent of them, and there is nothing to tell."""
    await scope.connection.execute(_FORGET, scope.tenant_id, replay_id)


def _pace(replay: Replay) -> tuple[object, ...]:
    pace = replay.pace
    done = replay.is_trusted, replay.detail, replay.counted_since, replay.started_at, replay.ended_at
    return pace.rate, pace.canary, pace.stop_above_percent, *done


def _replay(row: Row) -> Replay:
    found = dict(row)
    pace = Pace(found.pop("rate"), found.pop("canary"), found.pop("stop_above_percent"))
    return Replay(**found | {"tenant_id": TenantId(found["tenant_id"]), "state": State(found["state"]), "pace": pace})


def _items(rows: Sequence[Row]) -> list[Item]:
    return [Item(**dict(row) | {"state": ItemState(row["state"])}) for row in rows]
