"""The words a saga is written in: Saga, Step, parallel(), and what an earlier step answered.

A saga is a value: it says what is asked of whom, what each refusal means and how each step is undone. It decides nothing
(machine.py does), and knows nothing of orders.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, TypeVar

from contracts.messages import Command, Event, Refusal, Reply

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Generic[E, W]):
    """One thing that is asked of one participant, within a time, and how it is undone."""

    name: str
    ask: Callable[[E, SoFar], Command[Any]]
    within: timedelta
    undo: Callable[[E, SoFar], Command[Any]] | None = None
    refusals: Mapping[type[Refusal], W] = field(default_factory=dict)
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
    """What is asked, in which order, up to the pivot; and how the whole is abandoned when it cannot be."""

    name: str
    version: int
    started_by: type[E]
    steps: tuple[Step[E, W] | Parallel[E, W], ...]
    pivot: Step[E, W]
    abandon: Callable[[E, W], Command[Any]]
    no_answer: W
    fault: W
    deadline: timedelta = timedelta(minutes=5)
    """From the start until the pivot is asked; afterwards it means nothing."""
    abandon_within: timedelta = timedelta(seconds=10)
    park_at_most: timedelta = timedelta(hours=24)
    undo_silence_max: timedelta = timedelta(hours=1)
    """How long an undo or the abandoning is asked again before somebody must look."""
    ask_again_max: timedelta = timedelta(minutes=1)
    """The longest wait between asking and asking again."""

    @cached_property
    def groups(self) -> tuple[tuple[Step[E, W], ...], ...]:
        """The steps before the pivot: outer in sequence, inner at once."""
        return tuple(item.steps if isinstance(item, Parallel) else (item,) for item in self.steps)

    @cached_property
    def steps_by_name(self) -> Mapping[str, Step[E, W]]:
        """Every step, the pivot last."""
        return {step.name: step for group in (*self.groups, (self.pivot,)) for step in group}


def paced(saga: Saga[E, W], pace: float) -> Saga[E, W]:
    """The same saga with every time multiplied by `pace`, for a demonstration that cannot wait for real deadlines."""

    def step(old: Step[E, W]) -> Step[E, W]:
        return replace(old, within=old.within * pace)

    def item(old: Step[E, W] | Parallel[E, W]) -> Step[E, W] | Parallel[E, W]:
        return Parallel(tuple(map(step, old.steps))) if isinstance(old, Parallel) else step(old)

    return replace(
        saga,
        steps=tuple(map(item, saga.steps)),
        pivot=step(saga.pivot),
        deadline=saga.deadline * pace,
        abandon_within=saga.abandon_within * pace,
        park_at_most=saga.park_at_most * pace,
        undo_silence_max=saga.undo_silence_max * pace,
        ask_again_max=saga.ask_again_max * pace,
    )
