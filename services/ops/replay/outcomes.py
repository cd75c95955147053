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
from services.ops.desk import letters, questions
from services.ops.desk.auditing import record
from services.ops.desk.handled import settle_handled
from services.ops.desk.metrics import REPLAYS_SETTLED
from services.ops.desk.model import Death, Letter
from services.ops.replay import parts, replays
from services.ops.replay.machine import ItemState
from services.ops.replay.replays import End

_log: Final = logging.getLogger(__name__)


@dataclass
class Settling:
    """The letters of the group, their items that were sent at all, what came of those, and what services answer about letters."""

    letters: dict[UUID, Letter] = field(default_factory=dict)
    sent: set[tuple[UUID, UUID]] = field(default_factory=set)
    settled: dict[tuple[UUID, UUID], ItemState] = field(default_factory=dict)
    """Both by replay and letter."""
    asked: dict[UUID, UUID] = field(default_factory=dict)
    """Letters that a yes settles, by the question."""
    answers: dict[UUID, HandlingReported] = field(default_factory=dict)
    """By the question."""


class Outcomes:
    """Letters and items that replays have settled, letters that were handled without one, and answers that somebody waits for."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Settling:
        """Lock the letters, all at once; one that was purged meanwhile is not there."""
        keys = {(envelope.data.replay_id, envelope.data.letter_id) for envelope in received if isinstance(envelope.data, LetterSettled)}
        told = [one.causationid for one in received if isinstance(one.data, HandlingReported)]
        asked = await questions.settling(scope, [id for id in told if id is not None])
        found = await letters.lock(scope, {letter_id for _, letter_id in keys} | set(asked.values()))
        return Settling(found, await replays.sent_among(scope, keys) if keys else set(), asked=asked)

    async def save(self, scope: Scope, state: Settling) -> None:
        """Write all of them."""
        await self._settle(scope, state)
        await self._keep(scope, state)

    async def _settle(self, scope: Scope, state: Settling) -> None:
        told = {letter_id for _, letter_id in state.settled}
        for letter in state.letters.values():
            # Archived or settled in another way meanwhile: it stays as it is.
            if letter.id in told and letter.state.is_open:
                letter.settled(scope.now)
        handled = {one.letter_id for question, one in state.answers.items() if question in state.asked and one.is_handled}
        entries = [settle_handled(state.letters[id], scope) for id in sorted(handled & state.letters.keys())]
        await letters.save(scope, state.letters.values())
        await record(scope, [entry for entry in entries if entry is not None])
        for after in (ItemState.SETTLED, ItemState.KNOWN):
            ends = [End(*key) for key, came_to in sorted(state.settled.items()) if came_to is after]
            await parts.end_items(scope, after, ends)
        REPLAYS_SETTLED.inc(len(state.settled))

    async def _keep(self, scope: Scope, state: Settling) -> None:
        """Each answer beside its question; one that comes when nobody waits any more is not kept."""
        await questions.forget(scope, [question for question in state.answers if question in state.asked])
        await questions.report(scope, {question: told for question, told in state.answers.items() if question not in state.asked})


def settle(envelope: Envelope, state: Settling) -> None:
    """The letter's effect is committed, by this replay or before it. Of what no replay has sent nobody can tell that: it is ignored."""
    told = envelope.data
    assert isinstance(told, LetterSettled)
    if (told.replay_id, told.letter_id) not in state.sent:
        said = {"letter": told.letter_id, "replay": told.replay_id, "tenant": envelope.tenantid}
        _log.warning("the outcome of a letter that this replay has not sent is ignored", extra=said)
        return
    state.settled.setdefault((told.replay_id, told.letter_id), ItemState.KNOWN if told.was_known else ItemState.SETTLED)


def report(envelope: Envelope, state: Settling) -> None:
    """Whoever asked can be told; what is said of another letter than was asked about counts for nothing."""
    told, question = envelope.data, envelope.causationid
    assert isinstance(told, HandlingReported)
    if question is not None and state.asked.get(question, told.letter_id) == told.letter_id:
        state.answers[question] = told


async def note_deaths(scope: Scope, deaths: Sequence[Death]) -> None:
    """The items of replayed letters that died again FAILED. Their letters are the caller's, and locked already."""
    ends = {
        (death.replay_id, death.letter_id): End(death.replay_id, death.letter_id, _said(death), death.id)
        for death in deaths
        if death.replay_id is not None
    }
    await parts.end_items(scope, ItemState.FAILED, [ends[key] for key in sorted(ends)])


def _said(death: Death) -> str:
    return f"it died again: {death.exception_type}: {death.error}"


# One repository for both: it locks the letters of a group in one order.
OUTCOMES: Final = Handles(Outcomes(), {LetterSettled: settle, HandlingReported: report})
