"""Editing letters inside one tenant: looked at, the service that owns the queue asked, then locked, looked at again, and revised.

A message that was answered must stay what it was: its answer is remembered under its id. So nothing is edited of which the desk knows an
answer, of a saga that has ended, or of which the service does not say that it has not handled it. Every attempt is recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from contracts.values import TenantId
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from services.ops.desk import letters
from services.ops.desk.auditing import Entry, Outcome, record
from services.ops.desk.model import NOBODY, Letter, State
from services.ops.desk.questions import Answer, Asked
from services.ops.mend.mending import Change, Edited, NotMendable, WrongData, as_json, edit
from services.ops.replay.asking import ask
from services.ops.replay.sending import ended_sagas

_ORIGINALS: Final = "SELECT id, body FROM ops.letter WHERE tenant_id = $1 AND id = ANY($2::uuid[])"


class Why(StrEnum):
    """Why a letter was not edited."""

    UNKNOWN = "UNKNOWN"
    MOVED = "MOVED"
    """It is at another revision than was looked at."""
    BUSY = "BUSY"
    """It is being replayed, archived or settled."""
    ANSWERED = "ANSWERED"
    """Its message was handled, or its saga has ended."""
    UNREADABLE = "UNREADABLE"
    WRONG = "WRONG"
    """The contract does not take the data."""
    UNHEARD = "UNHEARD"
    """The service does not say whether it has handled it."""


class NotEdited(Exception):
    """A letter stays as it is; the message says why. `error` names the wrong fields, if that is why."""

    def __init__(self, why: Why, message: str, error: WrongData | None = None) -> None:
        super().__init__(message)
        self.why = why
        self.error = error


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one letter shall say, and the revision that was looked at."""

    data: Mapping[str, Any]
    revision: int


@dataclass(frozen=True, slots=True)
class By:
    """Who edits, and why."""

    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revised:
    """A letter as it stands after it; without a difference nothing was changed."""

    letter: Letter
    diff: tuple[Change, ...]


Result = Revised | NotEdited


class Revising:
    """Edits letters of one tenant at a time."""

    def __init__(self, transaction: Transactions, settings: Settings) -> None:
        self._transaction = transaction
        self._within_s = settings.report_within_s

    async def preview(self, tenant_id: TenantId, wanted: Mapping[UUID, Wanted]) -> dict[UUID, Result]:
        """What would come of each, as far as the desk knows by itself: no service is asked, and nothing is changed or recorded."""
        async with self._transaction(tenant_id) as scope:
            looked = await _look(scope, await letters.find(scope, wanted), wanted)
        return {id: one if isinstance(one, NotEdited) else Revised(one[0], one[1].diff) for id, one in looked.items()}

    async def edit(self, tenant_id: TenantId, wanted: Mapping[UUID, Wanted], by: By) -> dict[UUID, Result]:
        """What came of each; one that is refused harms no other."""
        async with self._transaction(tenant_id) as scope:
            looked = await _look(scope, await letters.find(scope, wanted), wanted)
        going = [one[0] for one in looked.values() if not isinstance(one, NotEdited) and one[1].diff]
        # No lock is held meanwhile: whatever happens to a letter until then, the second look sees.
        answers = await ask(self._transaction, [_asked(letter) for letter in going], self._within_s)
        async with self._transaction(tenant_id) as scope:
            held = await letters.lock(scope, wanted)
            results = {id: await _done(scope, id, one, answers, by) for id, one in (await _look(scope, held, wanted)).items()}
            await record(scope, [_entry(id, result, by) for id, result in results.items() if _is_told(result)])
        return results


async def _look(scope: Scope, found: Mapping[UUID, Letter], wanted: Mapping[UUID, Wanted]) -> dict[UUID, tuple[Letter, Edited] | NotEdited]:
    ended = await ended_sagas(scope, found.values())
    bodies = await letters.current_bodies(scope, found)
    originals = {row["id"]: row["body"] for row in await scope.connection.fetch(_ORIGINALS, scope.tenant_id, list(found))}
    looked: dict[UUID, tuple[Letter, Edited] | NotEdited] = {}
    for id in sorted(wanted):
        try:
            if id not in found:
                raise NotEdited(Why.UNKNOWN, f"there is no letter {id}")
            edited = _edited(found[id], wanted[id], bodies[id], originals[id])
            if edited.diff:
                _require_editable(found[id], wanted[id], ended)
            looked[id] = found[id], edited
        except NotEdited as refused:
            looked[id] = refused
    return looked


def _edited(letter: Letter, wanted: Wanted, body: str, original: str) -> Edited:
    if not letter.is_readable or letter.message_id is None or letter.tenant_id == NOBODY:
        raise NotEdited(Why.UNREADABLE, "it cannot be edited: it is no message of a tenant; replay it as it came, or archive it")
    try:
        return edit(body, wanted.data, original)
    except NotMendable as error:
        raise NotEdited(Why.UNREADABLE, f"it cannot be edited: {error}; replay it as it came, or archive it") from error
    except WrongData as error:
        raise NotEdited(Why.WRONG, str(error), error) from error


def _require_editable(letter: Letter, wanted: Wanted, ended: set[UUID]) -> None:
    if letter.state is State.SETTLED:
        raise NotEdited(Why.ANSWERED, "it is SETTLED: its message was handled, and its answer stays what it is")
    if letter.state is not State.DEAD:
        raise NotEdited(Why.BUSY, f"it is {letter.state}: only a letter that is DEAD can be edited")
    if letter.revision != wanted.revision:
        raise NotEdited(Why.MOVED, f"it is at revision {letter.revision} now, not {wanted.revision}: look at it again")
    if letter.saga_id in ended:
        raise NotEdited(Why.ANSWERED, f"its saga {letter.saga_id} has ended: nobody waits for its answer any more; archive it")


async def _done(scope: Scope, id: UUID, looked: tuple[Letter, Edited] | NotEdited, answers: Mapping[UUID, Answer], by: By) -> Result:
    if isinstance(looked, NotEdited):
        return looked
    letter, edited = looked
    if not edited.diff:
        return Revised(letter, ())
    answer = answers.get(id)
    service = letter.queue.partition(".")[0]
    if answer is None:
        return NotEdited(Why.UNHEARD, f"{service} does not say whether it has handled the message: is a worker of it running? Try again")
    if answer.is_handled:
        return NotEdited(Why.ANSWERED, f"{service} has handled the message: its answer exists, and stays what it is")
    await letters.revise(scope, letter, edited.body, actor=by.actor, reason=by.reason, diff=as_json(edited.diff))
    return Revised(letter, edited.diff)


def _asked(letter: Letter) -> Asked:
    assert letter.message_id is not None, f"letter {letter.id} was looked at"
    return Asked(letter.tenant_id, letter.id, letter.message_id, letter.type, letter.queue)


def _is_told(result: Result) -> bool:
    # An import that is begun again meets what it has changed before: nothing happens to that.
    return isinstance(result, NotEdited) or bool(result.diff)


def _entry(id: UUID, result: Result, by: By) -> Entry:
    if isinstance(result, NotEdited):
        outcome = Outcome.MOVED if result.why is Why.MOVED else Outcome.REFUSED
        known = None if result.why is Why.UNKNOWN else id
        return Entry(actor=by.actor, verb="edit", reason=by.reason, outcome=outcome, detail=str(result), letter_id=known)
    detail = f"revision {result.letter.revision}: {', '.join(change.path for change in result.diff)}"
    return Entry(actor=by.actor, verb="edit", reason=by.reason, outcome=Outcome.DONE, detail=detail, letter_id=id)
