"""The fault injector: many random runs of a saga among simulated participants, each from a seed, each held to the promise.

    storm(PLACE_ORDER, ORDER, runs=1_000)
    storm(PLACE_ORDER, ORDER, runs=1_000, faults={Fault.DROP, Fault.SILENCE})

A run that breaks the promise is told from beginning to end, with the line that plays exactly it again.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.messages import Event, Reply
from sagas.engine.definition import Saga
from sagas.engine.history import Kind
from sagas.engine.instance import State
from tests.kit.faults import HONEST, Fault
from tests.kit.participants import Examples, Participant, examples_of
from tests.kit.promise import broken_promises
from tests.kit.story import told
from tests.kit.world import World

Names = Mapping[str, Any]


@dataclass
class Weather:
    """Where the runs went: how they ended and why, and how many runs each kind of fact occurs in."""

    runs: int = 0
    ends: Counter[tuple[State, Any]] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)

    @property
    def states(self) -> Counter[State]:
        counted = Counter[State]()
        for (state, _), times in self.ends.items():
            counted[state] += times
        return counted

    def add(self, world: World) -> None:
        self.runs += 1
        self.ends[world.instance.state, world.instance.why] += 1
        self.kinds.update({entry.kind for entry in world.history})


class PromiseBroken(AssertionError):
    """A run that ended as no run may. `replay` is the line that plays it again."""

    def __init__(self, problems: Sequence[str], replay: str, world: World) -> None:
        which = f"{world.saga.name} version {world.saga.version}, seed {world.seed}"
        super().__init__(f"{which}: {'; '.join(problems)}\n{_told(world, replay)}")
        self.problems, self.replay, self.world = problems, replay, world


def storm(
    saga: Saga[Any, Any],
    order: Event,
    *,
    runs: int = 1_000,
    seed: int = 0,
    faults: Collection[Fault] = HONEST,
    examples: Iterable[Reply] = (),
    participants: Callable[[str, Examples], Participant] = Participant,
) -> Weather:
    """Play `runs` random runs, the first from `seed`, the next from `seed + 1`; raises PromiseBroken for the first that breaks.

    `faults` is what may happen. `examples` are answers that the kit cannot make up itself. Whatever else a run raises has a note
    that tells the run and how to play it again.
    """
    caller = sys._getframe(1)
    names = {**caller.f_globals, **caller.f_locals}
    given = {"faults": faults, "examples": examples, "participants": participants}
    weather, known = Weather(), examples_of(tuple(examples))
    for number in range(seed, seed + runs):
        world = World(saga, order, number, faults=faults, examples=known, participants=participants)
        try:
            problems = list(broken_promises(world.run()))
        except BaseException as error:
            error.add_note(_told(world, _line(saga, order, number, given, names)))
            raise
        if problems:
            raise PromiseBroken(problems, _line(saga, order, number, given, names), world)
        weather.add(world)
    return weather


def _told(world: World, replay: str) -> str:
    trouble = ", ".join(sorted(world.faults)) or "none"
    return "\n".join([f"Play it again: {replay}", f"What happened (trouble: {trouble}):", *told(world.history, world.noise)])


def _line(saga: Saga[Any, Any], order: Event, seed: int, given: Mapping[str, Any], names: Names) -> str:
    """The call as the caller can type it: what has a name there goes by its name."""
    unusual = {name: value for name, value in given.items() if value not in (HONEST, (), Participant)}
    more = "".join(f", {name}={_written(value, names)}" for name, value in unusual.items())
    return f"storm({_written(saga, names)}, {_written(order, names)}, runs=1, seed={seed}{more})"


def _written(value: Any, names: Names) -> str:
    if (name := next((name for name, named in names.items() if named is value), None)) is not None:
        return name
    if isinstance(value, Collection) and value and all(isinstance(fault, Fault) for fault in value):
        return "{" + ", ".join(f"Fault.{fault.name}" for fault in sorted(value)) + "}"
    return repr(value)
