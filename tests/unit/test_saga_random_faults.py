"""Thousands of random runs: confirmed with everything held, or abandoned with nothing held, or visibly waiting for somebody.

A failure names its seed; `World(saga, order, seed).run()` plays it again.
"""

from collections import Counter
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import Any, Final

import pytest

from contracts.messages import Command, Event, Message, Refusal, Reply, StepFaulted
from sagas.engine.definition import OnFault, Saga, Step, parallel
from sagas.engine.instance import State
from sagas.engine.rebuilding import HistoryWithoutStart, rebuilt
from sagas.engine.verify import verify
from sagas.place_order import PLACE_ORDER
from tests.participants import World
from tests.play import SAGA_ID, TENANT_ID
from tests.unit.test_place_order import ORDER

RUNS: Final = 3_000
SHAPES: Final = 200
RUNS_PER_SHAPE: Final = 10


class Begun(Event):
    pass


class Held(Reply):
    pass


class Full(Refusal):
    pass


class Released(Reply):
    pass


class Hold(Command[Held | Full]):
    step: str


class Release(Command[Released]):
    step: str


class GiveUp(Command[Released]):
    pass


class Why(StrEnum):
    FULL = "FULL"
    NO_ANSWER = "NO_ANSWER"
    FAULT = "FAULT"


NAMES: Final[dict[str, type[Message]]] = {message.__name__: message for message in (Held, Full, Released, StepFaulted)}


def _step(name: str, random: Random, *, is_pivot: bool = False) -> Step[Begun, Why]:
    return Step(
        name=name,
        ask=lambda order, so_far: Hold(step=name),
        undo=None if is_pivot else lambda order, so_far: Release(step=name),
        refusals={Full: Why.FULL},
        within=timedelta(seconds=random.randint(1, 60)),
        on_fault=OnFault.PARK if is_pivot else random.choice(list(OnFault)),
    )


def shape(seed: int) -> Saga[Begun, Why]:
    """A saga of 1 to 3 groups of 1 to 3 steps."""
    random = Random(seed)
    groups = [[_step(f"step-{row}-{column}", random) for column in range(random.randint(1, 3))] for row in range(random.randint(1, 3))]
    return Saga(
        name=f"shape-{seed}",
        version=1,
        started_by=Begun,
        steps=tuple(group[0] if len(group) == 1 else parallel(*group) for group in groups),
        pivot=_step("pivot", random, is_pivot=True),
        abandon=lambda order, why: GiveUp(),
        no_answer=Why.NO_ANSWER,
        fault=Why.FAULT,
    )


def test_a_history_must_begin_at_the_start() -> None:
    world = World(PLACE_ORDER, ORDER, 1).run()
    with pytest.raises(HistoryWithoutStart):
        rebuilt(PLACE_ORDER, SAGA_ID, TENANT_ID, ORDER, world.history[1:])


def _violations(**mutant: Any) -> list[str]:
    worlds = (World(PLACE_ORDER, ORDER, seed, **mutant).run() for seed in range(RUNS))
    return [violation for world in worlds if (violation := world.violation())]


def test_place_order_keeps_its_promise_whatever_the_network_does() -> None:
    ends = Counter[tuple[State, Any]]()
    for seed in range(RUNS):
        world = World(PLACE_ORDER, ORDER, seed).run()
        assert world.violation() is None
        ends[world.instance.state, world.instance.why] += 1
    # The runs go everywhere, or they would prove little.
    assert {state for state, _ in ends} == {State.COMPLETED, State.ABANDONED, State.NEEDS_ATTENTION}, ends
    assert {why for _, why in ends} == {None, *type(PLACE_ORDER.fault)}, ends


def test_sagas_of_every_shape_keep_the_promise_and_their_history_tells_all() -> None:
    for number in range(SHAPES):
        saga = shape(number)
        verify(saga)
        for run in range(RUNS_PER_SHAPE):
            world = World(saga, Begun(), number * RUNS_PER_SHAPE + run, names=NAMES).run()
            assert world.violation() is None, saga.name
            assert rebuilt(saga, SAGA_ID, TENANT_ID, Begun(), world.history) == world.instance, world.seed


@pytest.mark.parametrize("taken_away", ["remembers", "keeps_tombstones"])
def test_without_the_remembered_answer_or_the_tombstone_the_promise_breaks(taken_away: str) -> None:
    assert _violations(**{taken_away: False})


def test_a_seed_replays_the_same_run() -> None:
    first, again = (World(PLACE_ORDER, ORDER, 17).run() for _ in range(2))
    assert first.instance == again.instance
