"""A saga's history in plain words, for people who never read this code."""

from collections.abc import Mapping
from typing import Final

from sagas.engine.history import Kind
from sagas.engine.instance import Phase, State

_WHAT: Final[Mapping[str | None, str]] = {
    Phase.ASK.value: "{step}",
    Phase.UNDO.value: "the undo of {step}",
    Phase.ABANDON.value: "the ending",
    None: "the saga",
}
_WORDS: Final[Mapping[str, str]] = {
    Kind.STARTED: "Started.",
    Kind.ASKED: "Asked for {what} ({detail}).",
    Kind.ASKED_AGAIN: "Asked again for {what}, time {attempt}.",
    Kind.ANSWERED: "Done: {what} ({detail}).",
    Kind.REFUSED: "Refused: {what} ({detail}).",
    Kind.TRY_LATER: "Try {attempt} of {what} came to nothing ({detail}); asked again after a pause.",
    Kind.SILENT: "No answer in time: {what}.",
    Kind.FAULTED: "A fault while doing {what}: {detail}.",
    Kind.LATE: "Answered after the turn back: {what} ({detail}); what it did is undone.",
    Kind.CONTRADICTED: "An answer that cannot be: {what} ({detail}). Nobody knows what is true.",
    Kind.OVERTAKEN: "Answered after an operator had given the answer: {what} ({detail}).",
    Kind.OVERDUE: "The whole took too long.",
    Kind.PARKED: "Parked: waits until somebody has mended the fault.",
    Kind.RESUMED: "Goes on: what had parked it was answered.",
    Kind.COMPENSATING: "Turning back, because of {detail}: everything done so far is undone.",
    Kind.NEEDS_ATTENTION: "Needs attention: it cannot go on alone.",
    Kind.COMPLETED: "All steps are done.",
    Kind.ABANDONED: "Abandoned, because of {detail}. Nothing is held any more.",
    Kind.RETRIED: "Asked again for everything that is missing.",
    Kind.SKIPPED: "Skipped {what}: taken as done ({detail}).",
    Kind.CANCELLED: "Cancelled.",
    Kind.PAUSED: "Paused: answers are noted, nothing is asked.",
    Kind.UNPAUSED: "Goes on after the pause.",
}
_CANCELLED_PAUSED: Final = "Cancelled; the pause ended with it."


def sentence(
    kind: str, *, step: str | None, phase: str | None, attempt: int | None, detail: str, actor: str | None = None, reason: str | None = None
) -> str:
    """One fact of a history as a sentence; a kind that this release does not know is told as it is."""
    what = _WHAT.get(phase, "{step}").format(step=step)
    words = _CANCELLED_PAUSED if (kind, detail) == (Kind.CANCELLED, State.PAUSED) else _WORDS.get(kind, f"{kind}: {{what}} {{detail}}")
    told = words.format(what=what, detail=detail, attempt=attempt)
    # What followed from the operator's act carries the name too; only the act itself has a reason.
    return f"{told} By {actor}: {reason}" if actor and reason else told
