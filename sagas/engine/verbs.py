"""What operators can do to a saga: pure decisions, like machine.py, each recorded with who did it and why.

                  retry   skip    cancel           pause   resume
    RUNNING       yes     yes     before pivot     yes     -
    COMPENSATING  yes     yes     -                yes     -
    ABANDONING    yes     yes     -                yes     -
    COMPLETING    yes     yes     -                yes     -
    PARKED        yes     yes     before pivot     yes     -
    NEEDS_ATT...  yes     yes     before pivot     yes     -
    PAUSED        -       yes     before pivot     -       yes
    COMPLETED     -       -       -                -       -
    ABANDONED     -       -       -                -       -

retry asks again, now, whatever is unanswered; skip supplies an answer, if one is missing; cancel undoes and abandons; a paused saga
notes answers and asks nothing. "Before pivot" is until the pivot is *asked*: from then on nobody knows that it did not take effect.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import ValidationError

from contracts.messages import Refusal, Reply
from sagas.engine.definition import E, Saga, W
from sagas.engine.history import Kind
from sagas.engine.instance import Asking, Instance, Phase, State
from sagas.engine.moving import Move, Moved
from sagas.engine.outlook import is_past_return, name_of


class Verb(StrEnum):
    """What an operator types."""

    RETRY = "retry"
    SKIP = "skip"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"


class IllegalVerb(Exception):
    """A saga on which this cannot be done from where it is; the text says why, and what can."""

    def __init__(self, verb: Verb, why: str) -> None:
        super().__init__(f"cannot {verb}: {why}")
        self.verb, self.why = verb, why


class WrongAnswer(ValueError):
    """What was supplied is no answer of that step; `error` names each wrong field."""

    def __init__(self, step: str, reply: type[Reply], error: ValidationError) -> None:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'answer'}: {one['msg']}" for one in error.errors())
        super().__init__(f"{step} is answered with {reply.__name__}: {wrong}")
        self.step, self.reply, self.error = step, reply, error


def why_not(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> dict[Verb, str | None]:
    """For each verb None if it is legal now, else why it is not."""
    return {verb: _why_not(verb, saga, instance) for verb in Verb}


def retry(saga: Saga[E, W], instance: Instance[E, W], now: datetime, actor: str, reason: str) -> Moved[E, W]:
    """Ask again, now, whatever is unanswered; a parked saga and one that was contradicted go on. Raises IllegalVerb."""
    move = _begin(Verb.RETRY, saga, instance, now, actor)
    move.note(Kind.RETRIED, reason=reason)
    for asking in instance.askings:
        move.change(asking, disputed=False)
    move.let_go()
    if (parked_at := move.instance.parked_at) is not None:
        move.instance = move.instance.changed(parked_at=None, deadline=move.instance.deadline + (now - parked_at))
    for asking in move.instance.outstanding:
        # What was answered with an impossible reply would be answered with it again under the same id.
        round_ = asking.round + 1 if asking.contradicted else asking.round
        move.ask_again(replace(asking, round=round_, asked_at=now))
    move.advance()
    return _progressed(move)


def skip(
    saga: Saga[E, W], instance: Instance[E, W], now: datetime, actor: str, reason: str, step: str | None, answer: Mapping[str, Any] | None
) -> Moved[E, W]:
    """Take `answer` (the fields of the command's success) as the answer of an unanswered step, or of the only one.

    `step` is the step's name, `undo of <step>`, or `abandon`. Raises IllegalVerb and WrongAnswer.
    """
    move = _begin(Verb.SKIP, saga, instance, now, actor)
    asking = _the_one(instance, step)
    success = next(reply for reply in move.command_class(asking).replies() if not issubclass(reply, Refusal))
    try:
        reply = success.model_validate(dict(answer or {}))
    except ValidationError as error:
        raise WrongAnswer(name_of(asking), success, error) from None
    # Another step may be disputed too: that one still holds the saga.
    asking = move.change(asking, supplied=True, disputed=False)
    move.let_go()
    move.take_answer(asking, reply, Kind.SKIPPED, reason=reason)
    return _progressed(move)


def cancel(saga: Saga[E, W], instance: Instance[E, W], now: datetime, actor: str, reason: str) -> Moved[E, W]:
    """Undo everything and abandon. Raises IllegalVerb, above all past the point of no return."""
    move = _begin(Verb.CANCEL, saga, instance, now, actor)
    move.note(Kind.CANCELLED, detail="" if instance.paused_at is None else State.PAUSED.value, reason=reason)
    move.go_back(saga.cancelled)
    return _progressed(move)


def pause(saga: Saga[E, W], instance: Instance[E, W], now: datetime, actor: str, reason: str) -> Moved[E, W]:
    """Ask nothing and let no time run until it is resumed; answers are noted. Raises IllegalVerb."""
    move = _begin(Verb.PAUSE, saga, instance, now, actor)
    move.note(Kind.PAUSED, reason=reason)
    move.instance = move.instance.changed(paused_at=now)
    move.hold()
    return _progressed(move)


def resume(saga: Saga[E, W], instance: Instance[E, W], now: datetime, actor: str, reason: str) -> Moved[E, W]:
    """Go on where it was paused, with the time that was left, and with what was answered meanwhile. Raises IllegalVerb."""
    move = _begin(Verb.RESUME, saga, instance, now, actor)
    move.note(Kind.UNPAUSED, reason=reason)
    move.instance = move.instance.changed(paused_at=None)
    move.let_go()
    move.advance()
    return _progressed(move)


def _begin(verb: Verb, saga: Saga[E, W], instance: Instance[E, W], now: datetime, actor: str) -> Move[E, W]:
    if (why := _why_not(verb, saga, instance)) is not None:
        raise IllegalVerb(verb, why)
    return Move(saga, instance, now, actor)


def _progressed(move: Move[E, W]) -> Moved[E, W]:
    move.progressed()
    return move.done()


def _the_one(instance: Instance[Any, Any], step: str | None) -> Asking:
    names = {name_of(asking): asking for asking in instance.outstanding}
    if step is None and len(names) == 1:
        return next(iter(names.values()))
    if step is None:
        raise IllegalVerb(Verb.SKIP, f"several answers are missing, so name the step: {', '.join(names)}")
    if step not in names:
        raise IllegalVerb(Verb.SKIP, f"it does not wait for {step!r}; it waits for {', '.join(names)}")
    return names[step]


def _why_not(verb: Verb, saga: Saga[Any, Any], instance: Instance[Any, Any]) -> str | None:
    if instance.state.is_final:
        return f"it has ended: {instance.state}"
    return _CONDITIONS[verb](saga, instance)


def _why_no_retry(_saga: Saga[Any, Any], instance: Instance[Any, Any]) -> str | None:
    if instance.paused_at is not None:
        return "it is paused: resume it first"
    return None if instance.outstanding or instance.is_disputed else "no answer is missing"


def _why_no_skip(_saga: Saga[Any, Any], instance: Instance[Any, Any]) -> str | None:
    if instance.outstanding:
        return None
    if instance.paused_at is not None:
        return "no answer is missing: resume lets it go on"
    return "no answer is missing: retry lets it go on with the first answer, cancel undoes it"


def _why_no_cancel(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> str | None:
    if instance.why is not None:
        return f"it is turning back already, because of {instance.why}"
    if is_past_return(saga, instance):
        asked = next(a.step for a in instance.askings if a.phase is Phase.ASK and a.step in saga.must_be_answered)
        return f"it is past the point of no return: {asked} has been asked"
    return None


def _why_no_pause(_saga: Saga[Any, Any], instance: Instance[Any, Any]) -> str | None:
    return "it is paused already" if instance.paused_at is not None else None


def _why_no_resume(_saga: Saga[Any, Any], instance: Instance[Any, Any]) -> str | None:
    return "it is not paused; a parked saga goes on with retry, skip or cancel" if instance.paused_at is None else None


_CONDITIONS: Final[Mapping[Verb, Callable[[Saga[Any, Any], Instance[Any, Any]], str | None]]] = {
    Verb.RETRY: _why_no_retry,
    Verb.SKIP: _why_no_skip,
    Verb.CANCEL: _why_no_cancel,
    Verb.PAUSE: _why_no_pause,
    Verb.RESUME: _why_no_resume,
}
