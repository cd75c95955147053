"""Simulated operators: in trouble they do anything at any time; those who mend do what helps."""

from typing import TYPE_CHECKING, Any, Final

from sagas.engine.instance import Asking, Phase, State
from sagas.engine.naming import command_of
from sagas.engine.outlook import name_of
from sagas.engine.verbs import IllegalVerb, Verb, WrongAnswer, why_not
from tests.kit.dialogue import Operator
from tests.kit.participants import Row

if TYPE_CHECKING:
    from tests.kit.world import World

_WEIGHTS: Final = {Verb.RETRY: 3, Verb.SKIP: 4, Verb.CANCEL: 1, Verb.PAUSE: 2, Verb.RESUME: 4}
_SENSELESS: Final = [Operator(Verb.SKIP, step="no-such-step"), Operator(Verb.SKIP, answer={"nonsense": 1})]


def act_at_random(world: "World") -> None:
    """Any verb, whether it is legal or not; what is illegal must say so beforehand, and change nothing."""
    verb = world.random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    act(world, _skipping(world) if verb is Verb.SKIP else Operator(verb))


def act(world: "World", operator: Operator) -> bool:
    """Returns whether it was done. It must be done if and only if it is legal and makes sense."""
    illegal = why_not(world.saga, world.instance)[operator.verb]
    refused: IllegalVerb | WrongAnswer | None = None
    try:
        world.take(operator.act(world.saga, world.instance, world.now))
    except (IllegalVerb, WrongAnswer) as error:
        world.tell(f"an operator is told: {error}")
        refused = error
    is_in_order = illegal is None and operator not in _SENSELESS
    assert (refused is None) is is_in_order, f"{operator.verb} is {'legal' if illegal is None else illegal}, but was told: {refused}"
    return refused is None


def mend(world: "World") -> bool:
    """Nothing moves any more: somebody who attends to the saga does what lets it go on, if it is not over."""
    if world.mends_left == 0 or world.instance.state.is_final:
        return False
    world.mends_left -= not world.is_troubled
    if world.instance.state is State.PAUSED:
        return act(world, Operator(Verb.RESUME))
    truly_done = _skips(world)
    if truly_done and world.random.random() < 0.3:
        return act(world, world.random.choice(truly_done))
    if world.random.random() < 0.2 and act(world, Operator(Verb.CANCEL)):
        return True
    return act(world, Operator(Verb.RETRY))


def _skipping(world: "World") -> Operator:
    """The truth about a step, or what nobody gets through with: only the truth may be taken."""
    truths = _skips(world)
    return world.random.choice(truths if truths and world.random.random() < 0.8 else _SENSELESS)


def _skips(world: "World") -> list[Operator]:
    return [_skip(world, asking) for asking in world.instance.outstanding if _is_done(world, asking)]


def _is_done(world: "World", asking: Asking) -> bool:
    done = Row.WITHDRAWN if asking.phase is Phase.UNDO else Row.HELD
    return world.participants[asking.step].row is done


def _skip(world: "World", asking: Asking) -> Operator:
    answer = world.participants[asking.step].success(command_of(_build(world, asking)))
    return Operator(Verb.SKIP, step=name_of(asking), answer=answer.model_dump())


def _build(world: "World", asking: Asking) -> Any:
    if asking.phase is Phase.ABANDON:
        return world.saga.abandon
    step = world.saga.steps_by_name[asking.step]
    return step.undo if asking.phase is Phase.UNDO else step.ask
