"""What the tenants whose letters are in a replay know of it: their part, what was done with it, and what came of each letter, for good.

A replay is its operator's; of one by an operator of the platform a tenant sees its own part only, and no count of anybody else's. What
came of a letter is an entry of the audit in the transaction in which it came, one statement for all of them: the items go after a while.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from infra.transaction import Scope
from services.ops.desk.auditing import Entry, Outcome, record
from services.ops.replay import replays
from services.ops.replay.machine import ItemState, Replay
from services.ops.replay.replays import End, Ended

_ADD: Final = """
    INSERT INTO ops.replay_part (tenant_id, replay_id, total, planned_by, planned_at, reason) VALUES ($1, $2, $3, $4, $5, $6)"""
_START: Final = "UPDATE ops.replay_part SET started_by = $3, reason = $4 WHERE tenant_id = $1 AND replay_id = $2"
_READ: Final = """
    SELECT replay_id, total, planned_by, planned_at, started_by, reason FROM ops.replay_part
    WHERE tenant_id = $1 AND replay_id = ANY($2::uuid[])"""
_FORGET: Final = "DELETE FROM ops.replay_part WHERE tenant_id = $1 AND replay_id = $2"
_SAID: Final[Mapping[ItemState, str]] = {
    ItemState.SETTLED: "{service} has handled it",
    ItemState.KNOWN: "{service} had handled it before: nothing was changed",
    ItemState.FAILED: "{detail}",
    ItemState.LEFT_OUT: "not sent: {detail}",
    ItemState.CANCELLED: "not sent: {detail}",
}


@dataclass(frozen=True, slots=True)
class Part:
    """The letters of one tenant in a replay: how many, who sends them again, and why."""

    replay_id: UUID
    total: int
    planned_by: str
    planned_at: datetime
    started_by: str | None
    reason: str


async def add(scope: Scope, replay: Replay, total: int) -> None:
    """So many letters of the scope's tenant are in this plan."""
    await scope.connection.execute(_ADD, scope.tenant_id, replay.id, total, replay.actor, replay.planned_at, replay.reason)


async def read(scope: Scope, replay_ids: Sequence[UUID]) -> dict[UUID, Part]:
    """The parts of the scope's tenant in these replays."""
    return {row["replay_id"]: Part(**dict(row)) for row in await scope.connection.fetch(_READ, scope.tenant_id, list(replay_ids))}


async def start(scope: Scope, replay_id: UUID, actor: str, reason: str) -> None:
    """From now on letters of the scope's tenant are sent again, on this operator's word."""
    await scope.connection.execute(_START, scope.tenant_id, replay_id, actor, reason)


async def forget(scope: Scope, replay_id: UUID) -> None:
    """Nothing was sent, and there is nothing to tell."""
    await replays.forget_items(scope, replay_id)
    await scope.connection.execute(_FORGET, scope.tenant_id, replay_id)


async def tell(scope: Scope, replay: Replay, *, actor: str, verb: str, reason: str) -> None:
    """Something was done with the replay: its part's tenant reads so in its own audit, unless the replay is its own operator's."""
    if scope.tenant_id != replay.tenant_id:
        said = Entry(actor=actor, verb=f"{verb} replay", reason=reason, outcome=Outcome.DONE, replay_id=replay.id, is_copy=True)
        await record(scope, [said])


async def end_items(scope: Scope, state: ItemState, ends: Sequence[End]) -> None:
    """This is what came of these items, and the audit has it; one from whose state it cannot come stays as it is."""
    await _audit(scope, state, await replays.end_items(scope, state, ends))


async def cancel_the_rest(scope: Scope, replay_id: UUID, why: str) -> None:
    """What waits in this tenant will not be sent."""
    await _audit(scope, ItemState.CANCELLED, await replays.cancel_the_rest(scope, replay_id, why))


async def _audit(scope: Scope, state: ItemState, ended: Sequence[Ended]) -> None:
    if not ended:
        return
    found = await read(scope, list({one.replay_id for one in ended}))
    # What was never begun has happened to nobody's letters.
    await record(scope, [_entry(state, one, found[one.replay_id]) for one in ended if found[one.replay_id].started_by is not None])


def _entry(state: ItemState, one: Ended, part: Part) -> Entry:
    assert part.started_by is not None
    planned = f"; planned by {part.planned_by}" if part.planned_by != part.started_by else ""
    said = _SAID[state].format(service=one.queue.partition(".")[0], detail=one.detail)
    death = f" (death {one.death_id})" if one.death_id is not None else ""
    return Entry(
        actor=part.started_by,
        verb="replay",
        reason=part.reason,
        outcome=state,
        # What names other things is not to be cut off behind a long error.
        detail=f"{state.lower().replace('_', ' ')}{death}{planned}: {said}" if death or planned else said,
        replay_id=one.replay_id,
        letter_id=one.letter_id,
    )
