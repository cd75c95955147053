"""What came of replayed letters, as those tell who handled them or gave them up; and what services answer about letters.

Idempotent: the inbox of the desk takes each report once, and an outcome that is older than what is known changes nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from contracts.desk import HandlingReported, LetterSettled
from contracts.messages import Envelope
from infra.handling import Handles
from infra.transaction import Scope
from services.ops.desk import letters
from services.ops.desk.metrics import REPLAYS_SETTLED
from services.ops.desk.model import Death, Letter
from services.ops.replay import replays
from services.ops.replay.machine import ItemState
from services.ops.replay.replays import End

_log: Final = logging.getLogger(__name__)
_REPORT: Final = """
    UPDATE ops.question AS question SET is_handled = given.is_handled, build = given.build, answered_at = $6
    FROM unnest($2::uuid[], $3::uuid[], $4::boolean[], $5::text[]) AS given (id, letter_id, is_handled, build)
    WHERE question.tenant_id = $1 AND question.id = given.id AND question.letter_id = given.letter_id AND question.answered_at IS NULL"""


@dataclass
class Settling:
    """The letters of the group, their items that were sent at all, and what came of those."""

    letters: dict[UUID, Letter] = field(default_factory=dict)
    sent: set[tuple[UUID, UUID]] = field(default_factory=set)
    settled: dict[tuple[UUID, UUID], ItemState] = field(default_factory=dict)
    """Both by replay and letter."""


class Settled:
    """Letters and items that replays have settled."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Settling:
        """Lock the letters; one that was purged meanwhile is not there."""
        keys = {(envelope.data.replay_id, envelope.data.letter_id) for envelope in received if isinstance(envelope.data, LetterSettled)}
        found = await letters.lock(scope, {letter_id for _, letter_id in keys})
        return Settling(found, await replays.sent_among(scope, keys))

    async def save(self, scope: Scope, state: Settling) -> None:
        """Write both."""
        told = {letter_id for _, letter_id in state.settled}
        for letter in state.letters.values():
            # Archived or settled in another way meanwhile: it stays as it is.
            if letter.id in told and letter.state.is_open:
                letter.settled(scope.now)
        await letters.save(scope, state.letters.values())
        for after in (ItemState.SETTLED, ItemState.KNOWN):
            ends = [End(*key) for key, came_to in sorted(state.settled.items()) if came_to is after]
            await replays.end_items(scope, after, ends)
        REPLAYS_SETTLED.inc(len(state.settled))


class Reported:
    """The answers to questions. Those that come when nobody waits any more are not kept."""

    async def load(self, _scope: Scope, _received: Sequence[Envelope]) -> dict[UUID, HandlingReported]:
        return {}

    async def save(self, scope: Scope, state: dict[UUID, HandlingReported]) -> None:
        """Each beside its question."""
        told = list(state.values())
        columns = list(state), [one.letter_id for one in told], [one.is_handled for one in told], [one.build for one in told]
        await scope.connection.execute(_REPORT, scope.tenant_id, *columns, scope.now)


def settle(envelope: Envelope, state: Settling) -> None:
    """The letter's effect is committed, by this replay or before it. Of what no replay has sent nobody can tell that: it is ignored."""
    told = envelope.data
    assert isinstance(told, LetterSettled)
    if (told.replay_id, told.letter_id) not in state.sent:
        said = {"letter": told.letter_id, "replay": told.replay_id, "tenant": envelope.tenantid}
        _log.warning("the outcome of a letter that this replay has not sent is ignored", extra=said)
        return
    state.settled.setdefault((told.replay_id, told.letter_id), ItemState.KNOWN if told.was_known else ItemState.SETTLED)


def report(envelope: Envelope, state: dict[UUID, HandlingReported]) -> None:
    """Whoever asked can be told."""
    assert isinstance(envelope.data, HandlingReported)
    if envelope.causationid is not None:
        state[envelope.causationid] = envelope.data


async def note_deaths(scope: Scope, deaths: Sequence[Death]) -> None:
    """The items of replayed letters that died again FAILED. Their letters are the caller's, and locked already."""
    ends = {
        (death.replay_id, death.letter_id): End(death.replay_id, death.letter_id, f"it died again: {death.exception_type}: {death.error}")
        for death in deaths
        if death.replay_id is not None
    }
    await replays.end_items(scope, ItemState.FAILED, [ends[key] for key in sorted(ends)])


OUTCOMES: Final = (Handles(Settled(), {LetterSettled: settle}), Handles(Reported(), {HandlingReported: report}))
