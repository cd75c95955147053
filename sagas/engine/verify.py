"""Whether a saga can be run at all: every problem in plain words. Runs at start-up and in a test, never per message."""

import inspect
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any

from contracts.messages import Command, Refusal, Reply
from sagas.engine.definition import OnFault, Saga, Step

Build = Callable[..., Command[Any]]
"""What `ask`, `undo` and `abandon` are: they build a command."""


class UnsoundSaga(Exception):
    """A saga that could not be run to its end."""

    def __init__(self, saga: Saga[Any, Any], problems: list[str]) -> None:
        super().__init__("\n".join([f"saga {saga.name} version {saga.version} is unsound:", *(f"- {problem}" for problem in problems)]))
        self.saga, self.problems = saga, problems


class UnclearCommand(Exception):
    """It cannot be told which command is built: it must name exactly one Command class, or be annotated to return one."""

    def __init__(self, build: Build, found: list[str]) -> None:
        super().__init__(f"names {len(found)} commands ({', '.join(found) or 'none'}); name exactly one, or annotate what is returned")
        self.build, self.found = build, found


def verify(saga: Saga[Any, Any]) -> None:
    """Do nothing if the saga is sound; raises UnsoundSaga with every problem."""
    found = list(problems(saga))
    if found:
        raise UnsoundSaga(saga, found)


@lru_cache(maxsize=4096)
def command_of(build: Build) -> type[Command[Any]]:
    """The class of command that `build` makes, without calling it; raises UnclearCommand."""
    annotated = typing.get_type_hints(build).get("return")
    if inspect.isclass(annotated) and issubclass(annotated, Command):
        return annotated
    found = [named for named in _classes_named_in(build) if issubclass(named, Command)]
    if len(found) != 1:
        raise UnclearCommand(build, sorted(command.__name__ for command in found))
    return found[0]


def problems(saga: Saga[Any, Any]) -> Iterator[str]:
    """Everything that is wrong with the saga, one sentence each."""
    yield from _problems_of_the_whole(saga)
    before = [step for group in saga.groups for step in group]
    for step in before:
        if step.undo is None:
            yield f"step {step.name} comes before the pivot and has no undo"
        else:
            yield from _problems_of_undoing(f"the undo of step {step.name}", step.undo)
        yield from _problems_of_being_overtaken(step)
    for step in (*before, saga.pivot):
        yield from _problems_of_asking(step)
    if saga.pivot.undo is not None:
        yield f"pivot {saga.pivot.name} has an undo, but there is no way back from it"
    if saga.pivot.on_fault is OnFault.UNDO:
        yield f"pivot {saga.pivot.name} says on_fault=UNDO, but nobody knows whether a faulted pivot took effect"
    yield from _problems_of_undoing("abandon", saga.abandon)
    yield from _problems_of_looking_back(saga)


def _problems_of_the_whole(saga: Saga[Any, Any]) -> Iterator[str]:
    if not saga.name:
        yield "the saga has no name"
    if saga.version < 1:
        yield f"version is {saga.version}; versions count from 1"
    if not saga.steps:
        yield "there is no step before the pivot"
    if not all(saga.groups):
        yield "a parallel(...) is empty"
    names = Counter(step.name for group in (*saga.groups, (saga.pivot,)) for step in group)
    for name, times in names.items():
        if times > 1:
            yield f"step name {name} is used {times} times; command ids are made of it"
    for setting in ("deadline", "abandon_within", "park_at_most", "undo_silence_max", "ask_again_max"):
        if getattr(saga, setting) <= timedelta(0):
            yield f"{setting} is not positive"


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


def _problems_of_undoing(what: str, build: Build) -> Iterator[str]:
    try:
        refusals = command_of(build).refusals()
    except (UnclearCommand, TypeError) as unclear:
        yield f"{what}: {unclear}"
        return
    for refusal in refusals:
        yield f"{what} can be refused with {refusal.__name__}; going back must always succeed"


def _problems_of_being_overtaken(step: Step[Any, Any]) -> Iterator[str]:
    """An undo may arrive before its ask: then the ask must be refused, or its effect would stay for ever."""
    try:
        refusals = command_of(step.ask).refusals()
    except (UnclearCommand, TypeError):
        return  # told by _problems_of_asking
    if not refusals:
        yield f"step {step.name} declares no refusal, so it cannot say no when its undo has overtaken it"


def _problems_of_looking_back(saga: Saga[Any, Any]) -> Iterator[str]:
    """`so_far[...]` may only name what one step of an earlier group has certainly answered: an undo runs without its step's answer too."""
    known: Counter[type[Reply]] = Counter()
    for group in (*saga.groups, (saga.pivot,)):
        for step in group:
            for what, build in (("ask", step.ask), ("undo", step.undo)):
                for reply in _replies_named_in(build):
                    if known[reply] != 1:
                        yield f"the {what} of step {step.name} looks at {reply.__name__}: {known[reply]} earlier steps answer it, not one"
        for step in group:
            known.update(_successes_of(step))


def _successes_of(step: Step[Any, Any]) -> list[type[Reply]]:
    try:
        return [reply for reply in command_of(step.ask).replies() if not issubclass(reply, Refusal)]
    except (UnclearCommand, TypeError):
        return []


def _replies_named_in(build: Build | None) -> list[type[Reply]]:
    return [] if build is None else [named for named in _classes_named_in(build) if issubclass(named, Reply)]


def _classes_named_in(build: Build) -> list[type]:
    names = inspect.getclosurevars(build)
    return [value for value in {**names.globals, **names.nonlocals}.values() if inspect.isclass(value)]
