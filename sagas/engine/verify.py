"""Whether a saga can be run at all: every problem in plain words. Runs at start-up and in a test, once for each saga value."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from contracts.messages import Refusal, Reply, StepFaulted
from sagas.engine.definition import OnFault, Saga, Step
from sagas.engine.naming import Build, UnclearCommand, command_of, replies_named_in

_TIMES: Final = ("deadline", "abandon_within", "park_at_most", "undo_silence_max", "ask_again_max")
_NEEDED_TO_TURN_BACK: Final = ("abandon", "no_answer", "fault", "cancelled")


class UnsoundSaga(ValueError):
    """A saga that could not be run to its end."""

    def __init__(self, saga: Saga[Any, Any], problems: list[str]) -> None:
        super().__init__("\n".join([f"saga {saga.name} version {saga.version} is unsound:", *(f"- {problem}" for problem in problems)]))
        self.saga, self.problems = saga, problems


@lru_cache(maxsize=1024)
def verify(saga: Saga[Any, Any]) -> None:
    """Do nothing if the saga is sound; raises UnsoundSaga with every problem."""
    found = list(problems(saga))
    if found:
        raise UnsoundSaga(saga, found)


def problems(saga: Saga[Any, Any]) -> Iterator[str]:
    """Everything that is wrong with the saga, one sentence each."""
    yield from _problems_of_the_whole(saga)
    for group in saga.forward:
        for step in group:
            yield from _problems_of_asking(step)
            yield from _problems_of_trying_again(step)
    for group in saga.groups:
        for step in group:
            yield from _problems_before_the_pivot(saga, step)
    if saga.pivot:
        yield from _problems_of_no_return(f"pivot {saga.pivot.name}", saga.pivot)
        if saga.pivot.when is not None:
            yield f"pivot {saga.pivot.name} has a when, but without it nothing would decide"
    for step in saga.steps_by_name.values():
        if step.name in saga.must_be_answered and step is not saga.pivot:
            yield from _problems_of_no_return(f"step {step.name}, after the pivot,", step)
            yield from _problems_of_undoing(f"step {step.name}, after the pivot,", step.ask, "there is only forward")
    if saga.abandon is not None:
        yield from _problems_of_undoing("abandon", saga.abandon)
    yield from _problems_of_reasons(saga)
    yield from _problems_of_looking_back(saga)


def _problems_of_the_whole(saga: Saga[Any, Any]) -> Iterator[str]:
    if not saga.name:
        yield "the saga has no name"
    if saga.version < 1:
        yield f"version is {saga.version}; versions count from 1"
    if not saga.forward:
        yield "there is nothing to do: no step, no pivot, no then"
    if saga.groups and not saga.pivot:
        yield "there are steps but no pivot: say from which one on there is no way back"
    if saga.pivot and not saga.groups:
        yield "there is no step before the pivot"
    if saga.pivot:
        yield from (f"{needed} is missing: a saga with a pivot can turn back" for needed in _missing(saga))
    if not all(saga.forward):
        yield "a parallel(...) is empty"
    names = Counter(step.name for group in saga.forward for step in group)
    yield from (f"step name {name} is used {times} times; command ids are made of it" for name, times in names.items() if times > 1)
    yield from (f"{setting} is not positive" for setting in _TIMES if getattr(saga, setting) <= timedelta(0))


def _problems_of_reasons(saga: Saga[Any, Any]) -> Iterator[str]:
    """A row keeps a reason's value alone, so all of them are of one enumeration."""
    given = [("no_answer", saga.no_answer), ("cancelled", saga.cancelled)]
    for step in saga.steps_by_name.values():
        given.append((f"no_answer of step {step.name}", step.no_answer))
        given += [(f"the meaning of {refusal.__name__} in step {step.name}", meaning) for refusal, meaning in step.refusals.items()]
    for what, reason in given:
        if reason is not None and saga.fault is not None and type(reason) is not type(saga.fault):
            yield f"{what} is a {type(reason).__name__}, and fault is a {type(saga.fault).__name__}; a saga has one enumeration of reasons"


def _missing(saga: Saga[Any, Any]) -> list[str]:
    return [needed for needed in _NEEDED_TO_TURN_BACK if getattr(saga, needed) is None]


def _problems_of_asking(step: Step[Any, Any]) -> Iterator[str]:
    if not step.name:
        yield "a step has no name"
    if step.within <= timedelta(0):
        yield f"within of step {step.name} is not positive"
    try:
        declared = command_of(step.ask).refusals()
    except (UnclearCommand, TypeError) as unclear:
        yield f"the ask of step {step.name}: {unclear}"
        return
    for refusal in declared:
        if refusal not in step.refusals:
            yield f"step {step.name} can be refused with {refusal.__name__}, which has no meaning in its refusals"
    for refusal in step.refusals:
        if refusal not in declared:
            yield f"step {step.name} gives a meaning to {refusal.__name__}, which its command never answers"


def _problems_of_trying_again(step: Step[Any, Any]) -> Iterator[str]:
    retry = step.retry
    if retry.attempts < 1:
        yield f"step {step.name} has {retry.attempts} attempts; the first one counts"
    if retry.first <= timedelta(0) or retry.longest < retry.first:
        yield f"the pauses of step {step.name} go from {retry.first} to {retry.longest}; they must be positive and grow"
    if retry.factor < 1:
        yield f"the pauses of step {step.name} would shrink: factor is {retry.factor}"
    for answer in retry.on:
        if answer is not StepFaulted and answer not in step.refusals:
            yield f"step {step.name} tries again on {answer.__name__}, which its command never answers"


def _problems_before_the_pivot(saga: Saga[Any, Any], step: Step[Any, Any]) -> Iterator[str]:
    if step.undo is None:
        yield f"step {step.name} comes before the pivot and has no undo"
    else:
        yield from _problems_of_undoing(f"the undo of step {step.name}", step.undo)
    if step.within > saga.deadline:
        yield f"step {step.name} may take {step.within}, but the saga's deadline is {saga.deadline}"
    # An undo may arrive before its ask: then the ask must be refused, or its effect would stay for ever.
    if not step.refusals:
        yield f"step {step.name} declares no refusal, so it cannot say no when its undo has overtaken it"


def _problems_of_no_return(what: str, step: Step[Any, Any]) -> Iterator[str]:
    if step.undo is not None:
        yield f"{what} has an undo, but there is no way back from it"
    if step.on_fault is OnFault.UNDO:
        yield f"{what} says on_fault=UNDO, but nobody knows whether a faulted one took effect"
    if step.no_answer is not None:
        yield f"{what} gives its silence a meaning, but it is asked until it is answered"


def _problems_of_undoing(what: str, build: Build, because: str = "going back must always succeed") -> Iterator[str]:
    try:
        refusals = command_of(build).refusals()
    except (UnclearCommand, TypeError) as unclear:
        yield f"{what}: {unclear}"
        return
    for refusal in refusals:
        yield f"{what} can be refused with {refusal.__name__}; {because}"


def _problems_of_looking_back(saga: Saga[Any, Any]) -> Iterator[str]:
    """`so_far[...]` may only take what one step of an earlier group has certainly answered: an undo runs without its step's answer too."""
    certain: Counter[type[Reply]] = Counter()
    possible: Counter[type[Reply]] = Counter()
    for group in saga.forward:
        for step in group:
            for what, build in (("ask", step.ask), ("undo", step.undo), ("when", step.when)):
                for reply, taken in replies_named_in(build):
                    look = f"the {what} of step {step.name} looks at {reply.__name__}"
                    if not possible[reply]:
                        yield f"{look}: 0 earlier steps answer it"
                    elif taken and (certain[reply], possible[reply]) != (1, 1):
                        yield f"{look}: {possible[reply]} earlier steps answer it, but not one always does; use so_far.get(...)"
        for step in group:
            successes = _successes_of(step)
            possible.update(successes)
            if step.when is None and len(successes) == 1:
                certain.update(successes)


def _successes_of(step: Step[Any, Any]) -> list[type[Reply]]:
    try:
        return [reply for reply in command_of(step.ask).replies() if not issubclass(reply, Refusal)]
    except (UnclearCommand, TypeError):
        return []
