"""Generated sagas of every shape, about nothing: groups, steps that may not be needed, data between steps, policies, and what comes after.

Each step has contracts of its own, because `so_far[...]` tells steps apart by what they answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cache
from random import Random
from typing import Any, Final

from contracts.messages import Command, Event, Refusal, Reply, StepFaulted
from sagas.engine.definition import ONCE, OnFault, Parallel, Retry, Saga, SoFar, Step, parallel

STEPS_MAX: Final = 20


class Begun(Event):
    """What starts a generated saga."""

    wishes: int
    """Bit n: the n-th step that may not be needed is."""


class Full(Refusal):
    pass


class Released(Reply):
    pass


class Release(Command[Released]):
    step: str


class GiveUp(Command[Released]):
    because: str


class Why(StrEnum):
    FULL = "FULL"
    NO_ANSWER = "NO_ANSWER"
    LATE = "LATE"
    FAULT = "FAULT"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class Contract:
    """What one step says: a command that may be refused, one that may not, and the answer to both."""

    answer: Any
    hold: Any
    do: Any


@cache
def contract(number: int) -> Contract:
    """The n-th step's own classes of messages."""

    class Answer(Reply):
        token: int

    class Hold(Command[Answer | Full]):
        step: str
        seen: int | None

    class Do(Command[Answer]):
        step: str
        seen: int | None

    for made in (Answer, Hold, Do):
        made.__name__ = made.__qualname__ = f"{made.__name__}{number}"
    return Contract(Answer, Hold, Do)


Ask = Callable[[Begun, SoFar], Command[Any]]
Steps = tuple[Step[Begun, Why] | Parallel[Begun, Why], ...]
On = tuple[type[Refusal] | type[StepFaulted], ...]
_ON_ANYTHING: Final[tuple[On, ...]] = ((), (Full,), (StepFaulted,), (Full, StepFaulted))


class _Shape:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.numbers: Iterator[int] = iter(range(STEPS_MAX))
        self.certain: list[Any] = []
        self.uncertain: list[Any] = []

    def groups(
        self, make: Callable[[int], Step[Begun, Why]], fewest: int, most: int
    ) -> tuple[Step[Begun, Why] | Parallel[Begun, Why], ...]:
        return tuple(self.group(make) for _ in range(self.random.randint(fewest, most)))

    def group(self, make: Callable[[int], Step[Begun, Why]]) -> Step[Begun, Why] | Parallel[Begun, Why]:
        numbers = [next(self.numbers) for _ in range(self.random.randint(1, 3))]
        steps = [make(number) for number in numbers]
        # Only afterwards: a step cannot look at what is answered in its own group.
        for number, step in zip(numbers, steps, strict=True):
            (self.certain if step.when is None else self.uncertain).append(contract(number).answer)
        return steps[0] if len(steps) == 1 else parallel(*steps)

    def before(self, number: int) -> Step[Begun, Why]:
        name, random = f"step-{number}", self.random
        on = random.choice(_ON_ANYTHING)
        retry = Retry(attempts=random.randint(2, 4), first=timedelta(seconds=random.randint(1, 30)), on=on)
        return Step(
            name=name,
            ask=self.looking(contract(number).hold, name),
            undo=lambda order, so_far: Release(step=name),
            refusals={Full: Why.FULL},
            within=timedelta(seconds=random.randint(1, 60)),
            retry=random.choice([ONCE, retry]),
            when=self.when(number),
            no_answer=random.choice([None, Why.LATE]),
            on_fault=random.choice(list(OnFault)),
        )

    def after(self, number: int) -> Step[Begun, Why]:
        name, random = f"step-{number}", self.random
        return Step(
            name=name,
            ask=self.looking(contract(number).do, name),
            within=timedelta(seconds=random.randint(1, 60)),
            retry=random.choice([ONCE, Retry(attempts=3, on=(StepFaulted,))]),
            when=self.when(number),
        )

    def pivot(self) -> Step[Begun, Why]:
        number = next(self.numbers)
        on = self.random.choice(_ON_ANYTHING)
        pivot = Step[Begun, Why](
            name="pivot",
            ask=self.looking(contract(number).hold, "pivot"),
            refusals={Full: Why.FULL},
            within=timedelta(seconds=self.random.randint(1, 60)),
            retry=Retry(attempts=2, on=on),
        )
        self.certain.append(contract(number).answer)
        return pivot

    def looking(self, command: Any, step: str) -> Ask:
        """An ask that hands on what an earlier step has answered, if one has for certain."""
        if not self.certain or self.random.random() < 0.5:
            return lambda order, so_far: command(step=step, seen=None)
        earlier = self.random.choice(self.certain)
        return lambda order, so_far: command(step=step, seen=so_far[earlier].token)

    def when(self, number: int) -> Callable[[Begun, SoFar], bool] | None:
        if self.random.random() < 0.7:
            return None
        if not self.uncertain or self.random.random() < 0.5:
            return lambda order, so_far: bool(order.wishes >> number & 1)
        earlier = self.random.choice(self.uncertain)
        return lambda order, so_far: so_far.get(earlier) is not None


def shape(seed: int) -> Saga[Begun, Why]:
    """1 to 3 groups of 1 to 3 steps, a pivot and 0 to 2 groups after it; every eighth has only what comes after."""
    made = _Shape(seed)
    if seed % 8 == 0:
        return Saga(name=f"shape-{seed}", version=1, started_by=Begun, then=made.groups(made.after, 1, 3))
    return Saga(
        name=f"shape-{seed}",
        version=1,
        started_by=Begun,
        steps=made.groups(made.before, 1, 3),
        pivot=made.pivot(),
        then=made.groups(made.after, 0, 2),
        abandon=lambda order, why: GiveUp(because=why),
        no_answer=Why.NO_ANSWER,
        fault=Why.FAULT,
        cancelled=Why.CANCELLED,
        deadline=timedelta(seconds=made.random.choice([60, 300, 3600])),
    )
