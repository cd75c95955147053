"""One step of a replay inside one tenant: its next letters are put on their way, or left out and it is said why.

Letters are locked, then items; letter, item and outbox row change in one commit. So of two replays that want the same letter the second
finds it REPLAYING, and a process that dies here has either sent it (the outbox has it) or not begun.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from contracts.addresses import replay_address
from contracts.headers import COUNT, REPLAY
from infra.identifiers import uuid7
from infra.transaction import Scope
from services.ops.desk import letters
from services.ops.desk.model import Letter
from services.ops.desk.model import State as LetterState
from services.ops.replay import parts, replays
from services.ops.replay.candidates import Candidate
from services.ops.replay.machine import ItemState, Replay
from services.ops.replay.replays import End, Item

_ENDED_SAGAS: Final = """
    SELECT id FROM ops.saga WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND state IN ('COMPLETED', 'ABANDONED')"""
_UNREADABLE: Final = "SELECT id, form, body FROM ops.letter WHERE tenant_id = $1 AND id = ANY($2::uuid[])"
SENDS_MAX: Final = 3
LOST: Final = "no outcome: it was sent {sends} times, its queue is empty, and nobody has told what came of it"
TOO_OLD: Final = "it has grown too old: its service may have forgotten whether it handled it, and could handle it twice"

Actors = Callable[[Collection[UUID]], Awaitable[Mapping[UUID, str]]]
"""Who planned these replays."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of an item at the moment at which it would be sent; `letter` is None if it was purged."""

    item: Item
    letter: Letter | None
    has_ended: bool = False
    """Its saga has."""
    rival: str | None = None
    """Who is replaying it, if it is being replayed."""
    unsendable: str | None = None
    """Why nobody may send it, although it was named."""


def why_left_out(sight: Sight, now: datetime, keep: timedelta, *, includes_ended: bool) -> str | None:
    """Why this letter is not sent after all; None if it is. A letter is sent until `keep` after its death: a plan may wait for days."""
    letter, item = sight.letter, sight.item
    if letter is None:
        return "it was purged"
    if letter.state is LetterState.REPLAYING:
        return f"it is being replayed by {sight.rival or 'somebody else'} (replay {letter.replay_id})"
    if letter.state is not LetterState.DEAD:
        return f"it is {letter.state} meanwhile"
    if letter.revision != item.revision:
        return f"it was edited after the plan: revision {letter.revision}, planned {item.revision}"
    if letter.deaths != item.deaths:
        return "it has died again since the plan: plan anew"
    if sight.has_ended and not includes_ended:
        return "its saga has ended since the plan"
    if letter.is_too_old(now, keep):
        return TOO_OLD
    return sight.unsendable


async def send(scope: Scope, replay: Replay, letter_ids: Sequence[UUID], actors: Actors, keep: timedelta) -> int:
    """Send those of these letters that are as they were planned; returns how many that are. The replay is locked, and runs."""
    found = await letters.lock(scope, letter_ids)
    items = [item for item in await replays.lock_items(scope, replay.id, letter_ids) if item.state is ItemState.WAITING]
    sights = await _sights(scope, items, found, actors)
    reasons = {sight.item.letter_id: why_left_out(sight, scope.now, keep, includes_ended=replay.includes_ended) for sight in sights}
    ends = [End(replay.id, id, why) for id, why in reasons.items() if why is not None]
    await parts.end_items(scope, ItemState.LEFT_OUT, ends)
    going = [found[id] for id, why in reasons.items() if why is None]
    for letter in going:
        letter.replaying(replay.id, scope.now)
    await letters.save(scope, going)
    await _post(scope, replay.id, going)
    return len(going)


def unsendable(letter: Letter, form: str, body: str) -> str | None:
    """Why what is no readable envelope cannot be sent as it came; None if it can."""
    if form == "BASE64":
        return "it is no text, and cannot be sent as it came"
    # What came without a frame goes without one, and nobody reads it for an envelope, whatever it says.
    if form == "ENVELOPE" and _tenant_named(body) not in (None, str(letter.tenant_id)):
        return "it names another tenant than the one in which it died, and would arrive there"
    return None


def _tenant_named(body: str) -> object:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said.get("tenantid") if isinstance(said, dict) else None


async def send_again_or_give_up(
    scope: Scope, replay_id: UUID, item_ids: Sequence[UUID], before: datetime, keep: timedelta, *, may_send: bool
) -> None:
    """What has had no outcome since then although its queue is empty is sent again, SENDS_MAX times in all, and then given up.

    Harmless, were it to come twice: the service's inbox knows the message until it is `keep` old, and no older one is sent.
    The replay is locked, and runs if `may_send`.
    """
    found = await letters.lock(scope, item_ids)
    items = [item for item in await replays.lock_items(scope, replay_id, item_ids) if item.is_on_its_way_since(before)]
    again, lost = [], []
    for item in items:
        letter = found.get(item.letter_id)
        is_its_own = letter is not None and letter.state is LetterState.REPLAYING and letter.replay_id == replay_id
        if letter is not None and is_its_own and may_send and item.sends < SENDS_MAX and not letter.is_too_old(scope.now, keep):
            again.append(letter)
        else:
            lost.append(End(replay_id, item.letter_id, LOST.format(sends=item.sends)))
            if letter is not None and is_its_own:
                letter.given_back(scope.now)
    await letters.save(scope, found.values())
    await parts.end_items(scope, ItemState.FAILED, lost)
    await _post(scope, replay_id, again)


async def ended_sagas(scope: Scope, found: Collection[Letter] | Collection[Candidate]) -> set[UUID]:
    """Those of the letters' sagas that have ended, as far as has been heard."""
    sagas = {letter.saga_id for letter in found if letter.saga_id is not None}
    return {row["id"] for row in await scope.connection.fetch(_ENDED_SAGAS, scope.tenant_id, list(sagas))} if sagas else set()


async def _sights(scope: Scope, items: Sequence[Item], found: Mapping[UUID, Letter], actors: Actors) -> list[Sight]:
    ended = await ended_sagas(scope, found.values())
    unreadable = await _unreadable(scope, found.values())
    others = {letter.replay_id for letter in found.values() if letter.state is LetterState.REPLAYING and letter.replay_id is not None}
    rivals = await actors(others) if others else {}
    sights = []
    for item in items:
        letter = found.get(item.letter_id)
        rival = rivals.get(letter.replay_id) if letter is not None and letter.replay_id is not None else None
        sights.append(Sight(item, letter, letter is not None and letter.saga_id in ended, rival, unreadable.get(item.letter_id)))
    return sights


async def _unreadable(scope: Scope, found: Collection[Letter]) -> dict[UUID, str | None]:
    by_id = {letter.id: letter for letter in found if not letter.is_readable}
    rows = await scope.connection.fetch(_UNREADABLE, scope.tenant_id, list(by_id)) if by_id else []
    return {row["id"]: unsendable(by_id[row["id"]], row["form"], row["body"]) for row in rows}


async def _unframed(scope: Scope, going: Collection[Letter]) -> set[UUID]:
    """Those of them that came without a frame."""
    ids = [letter.id for letter in going if not letter.is_readable]
    rows = await scope.connection.fetch(_UNREADABLE, scope.tenant_id, ids) if ids else []
    return {row["id"] for row in rows if row["form"] != "ENVELOPE"}


async def _post(scope: Scope, replay_id: UUID, going: Sequence[Letter]) -> None:
    if not going:
        return
    ids = [letter.id for letter in going]
    bodies = await letters.current_bodies(scope, ids)
    unframed = await _unframed(scope, going)
    for letter in going:
        headers: dict[str, str | int] = {REPLAY: f"{replay_id}/{letter.id}"}
        if letter.id in unframed:
            # A frame around it would not be what came, and could make a message of it.
            headers[COUNT] = 0
        # An id of its own for each sending: a row of an earlier one may still be in the outbox, with the header of another replay.
        scope.post(str(uuid7(scope.now)), replay_address(letter.queue), bodies[letter.id], headers)
    await replays.note_sent(scope, replay_id, ids)
