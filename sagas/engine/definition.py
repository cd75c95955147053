"""The words a saga is written in: Saga, Step, parallel(), Retry, and what earlier steps answered.

A saga is a value: it says what is asked of whom, what each refusal means and how each step is undone. It decides nothing
(machine.py does), and knows nothing of orders.

    steps   asked in sequence, each undone if the saga turns back
    pivot   the point of no return: refused, the saga turns back; unanswered, it is asked again until it is answered
    then    only forward: asked until answered, never undone. A saga may have nothing but these
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

from contracts.messages import Command, Event, Refusal, Reply, StepFaulted

E = TypeVar("E", bound=Event)
"""The event that starts the saga: what every `ask` and `undo` is told first."""
W = TypeVar("W", bound=StrEnum)
"""The reasons a saga of this kind can be abandoned for."""
R = TypeVar("R", bound=Reply)


class OnFault(StrEnum):
    """What a participant's bug does to the saga: wait for people, or undo at once."""

    PARK = "PARK"
    UNDO = "UNDO"


class NotAnsweredYet(LookupError):
    """No step has answered, or more than one has, with that reply. `verify` refuses a saga in which this could happen."""

    def __init__(self, reply: type[Reply], answers: int) -> None:
        super().__init__(f"{answers} steps have answered with {reply.__name__}; so_far[...] needs exactly one")
        self.reply = reply


class SoFar:
    """The successful answers to the steps so far, by their class: `so_far[StockReserved].reservation_id`."""

    def __init__(self, replies: tuple[Reply, ...] = ()) -> None:
        self._replies = replies

    def __getitem__(self, reply: type[R]) -> R:
        """The one answer of that class; raises NotAnsweredYet."""
        found = [answer for answer in self._replies if isinstance(answer, reply)]
        if len(found) != 1:
            raise NotAnsweredYet(reply, len(found))
        return found[0]

    def get(self, reply: type[R]) -> R | None:
        """The answer of a step that may not have been needed (`when`), or may answer otherwise; None without one."""
        return next((answer for answer in self._replies if isinstance(answer, reply)), None)


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Another try after a growing pause: on silence the same command again, after one of the refusals in `on` a new one.

    The n-th pause is `first * factor ** (n - 1)`, at most `longest`, and up to a fifth shorter, so that sagas do not come in step.
    """

    attempts: int
    """Tries in all, the first included."""
    first: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest: timedelta = timedelta(minutes=1)
    on: tuple[type[Refusal] | type[StepFaulted], ...] = ()
    """Which answers are worth another try, beside silence, which always is."""


ONCE: Final = Retry(attempts=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Generic[E, W]):
    """One thing that is asked of one participant, within a time, and how it is undone."""

    name: str
    ask: Callable[[E, SoFar], Command[Any]]
    within: timedelta
    """For each try."""
    undo: Callable[[E, SoFar], Command[Any]] | None = None
    refusals: Mapping[type[Refusal], W] = field(default_factory=dict)
    retry: Retry = ONCE
    when: Callable[[E, SoFar], bool] | None = None
    """Whether the step is needed at all; asked when its turn comes."""
    no_answer: W | None = None
    """The reason that its silence means, if it is another than the saga's."""
    on_fault: OnFault = OnFault.PARK


@dataclass(frozen=True, eq=False)
class Parallel(Generic[E, W]):
    """Steps that are asked at once; the next ones wait for all of them."""

    steps: tuple[Step[E, W], ...]


def parallel(*steps: Step[E, W]) -> Parallel[E, W]:
    """Ask these steps at once, and undo them at once."""
    return Parallel(steps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Saga(Generic[E, W]):
    """What is asked, in which order, up to the pivot and after it; and how the whole is abandoned when it cannot be."""

    name: str
    version: int
    started_by: type[E]
    steps: tuple[Step[E, W] | Parallel[E, W], ...] = ()
    pivot: Step[E, W] | None = None
    then: tuple[Step[E, W] | Parallel[E, W], ...] = ()
    abandon: Callable[[E, W], Command[Any]] | None = None
    no_answer: W | None = None
    fault: W | None = None
    cancelled: W | None = None
    """Why it is abandoned when an operator cancels it."""
    begins: bool = True
    """Whether sagas begin with this version, if no newer one does: a new version is rolled out first and begins a release later."""
    deadline: timedelta = timedelta(minutes=5)
    """From the start until the pivot is asked; afterwards it only says when no progress means that it is stuck."""
    abandon_within: timedelta = timedelta(seconds=10)
    park_at_most: timedelta = timedelta(hours=24)
    undo_silence_max: timedelta = timedelta(hours=1)
    """How long an undo or the abandoning is asked again before somebody must look."""
    ask_again_max: timedelta = timedelta(minutes=5)
    """The longest wait between asking and asking again what must be answered."""

    @cached_property
    def groups(self) -> tuple[tuple[Step[E, W], ...], ...]:
        """The steps before the pivot: outer in sequence, inner at once."""
        return _grouped(self.steps)

    @cached_property
    def forward(self) -> tuple[tuple[Step[E, W], ...], ...]:
        """Every step in the order in which it is asked: before the pivot, the pivot, then."""
        return (*self.groups, *(((self.pivot,),) if self.pivot else ()), *_grouped(self.then))

    @cached_property
    def steps_by_name(self) -> Mapping[str, Step[E, W]]:
        return {step.name: step for group in self.forward for step in group}

    @cached_property
    def must_be_answered(self) -> frozenset[str]:
        """Names of the steps that are asked until they are answered: the pivot and whatever comes after it."""
        return frozenset(step.name for group in self.forward[len(self.groups) :] for step in group)

    @cached_property
    def reasons(self) -> type[W]:
        """The enumeration of the reasons it can be abandoned for. Only a saga that can turn back has one."""
        assert self.fault is not None  # verify() has seen to it
        return type(self.fault)


def paced(saga: Saga[E, W], pace: float) -> Saga[E, W]:
    """The same saga with every time multiplied by `pace`, for a demonstration that cannot wait for real deadlines."""

    def step(old: Step[E, W]) -> Step[E, W]:
        retry = replace(old.retry, first=old.retry.first * pace, longest=old.retry.longest * pace)
        return replace(old, within=old.within * pace, retry=retry)

    def item(old: Step[E, W] | Parallel[E, W]) -> Step[E, W] | Parallel[E, W]:
        return Parallel(tuple(map(step, old.steps))) if isinstance(old, Parallel) else step(old)

    return replace(
        saga,
        steps=tuple(map(item, saga.steps)),
        pivot=step(saga.pivot) if saga.pivot else None,
        then=tuple(map(item, saga.then)),
        deadline=saga.deadline * pace,
        abandon_within=saga.abandon_within * pace,
        park_at_most=saga.park_at_most * pace,
        undo_silence_max=saga.undo_silence_max * pace,
        ask_again_max=saga.ask_again_max * pace,
    )


def _grouped(items: tuple[Step[E, W] | Parallel[E, W], ...]) -> tuple[tuple[Step[E, W], ...], ...]:
    return tuple(item.steps if isinstance(item, Parallel) else (item,) for item in items)
