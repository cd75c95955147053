"""What must hold when a run has come to rest, whatever happened to it.

Confirmed with everything held, or abandoned with nothing held, or parked, paused or in need of attention, and visible.
"""

from collections.abc import Iterator
from typing import Any

from contracts.messages import Reply
from sagas.engine.definition import Saga, SoFar, Step
from sagas.engine.history import Entry, Kind
from sagas.engine.instance import ABANDON_STEP, State
from sagas.engine.naming import command_of
from sagas.engine.rebuilding import rebuilt
from tests.kit.dialogue import SAGA_ID, TENANT_ID
from tests.kit.participants import Row
from tests.kit.world import EVENTS_MAX, World

_VISIBLE = (State.PARKED, State.PAUSED, State.NEEDS_ATTENTION)


def broken_promises(world: World) -> Iterator[str]:
    """What is wrong with how the run ended, in plain words."""
    state = world.instance.state
    if world.events >= EVENTS_MAX:
        yield f"it does not come to rest; it is {state}"
    elif not state.is_final and state not in _VISIBLE:
        yield f"it is {state}, nothing is under way, and nobody sees it"
    elif not state.is_final and world.is_attended:
        yield f"it is {state}, though operators did what they could"
    yield from _wrong_rows(world)
    yield from _hidden_contradictions(world.history)
    if rebuilt(world.saga, SAGA_ID, TENANT_ID, world.order, world.history) != world.instance:
        yield "the history tells another story than the row"


def _wrong_rows(world: World) -> Iterator[str]:
    state = world.instance.state
    for step in world.saga.steps_by_name.values():
        held = world.participants[step.name].row is Row.HELD
        if state is State.COMPLETED and held is not _is_needed(world, step):
            yield f"it is COMPLETED, but {step.name} is {'done, which was not needed' if held else 'not done'}"
        if held and (state is State.ABANDONED or (world.instance.why is not None and step.name in world.saga.must_be_answered)):
            yield f"it is {state}, because of {world.instance.why}, but {step.name} is still held"
    if state is State.ABANDONED and world.participants[ABANDON_STEP].row is not Row.HELD:
        yield "it is ABANDONED, but nobody was told"


def _is_needed(world: World, step: Step[Any, Any]) -> bool:
    """As the participants' own answers say, not the saga's notes of them."""
    return step.when is None or step.when(world.order, SoFar(_true_answers(world.saga, world)))


def _true_answers(saga: Saga[Any, Any], world: World) -> tuple[Reply, ...]:
    steps = [step for step in saga.steps_by_name.values() if world.participants[step.name].row is Row.HELD]
    return tuple(world.participants[step.name].success(command_of(step.ask)) for step in steps)


def _hidden_contradictions(history: list[Entry]) -> Iterator[str]:
    """A contradiction stops the saga until a person has acted, unless it had ended before."""
    waits_for_a_person = False
    for entry in history:
        if entry.actor is not None and entry.reason is not None:
            waits_for_a_person = waits_for_a_person and entry.kind in (Kind.PAUSED, Kind.UNPAUSED)
        elif entry.kind in (Kind.COMPLETED, Kind.ABANDONED):
            if waits_for_a_person:
                yield f"it became {entry.kind} after a contradiction that nobody has looked at"
            return
        elif entry.kind is Kind.CONTRADICTED:
            waits_for_a_person = True
