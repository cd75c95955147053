"""10 000 random runs: confirmed with everything held, or abandoned with nothing held, or visibly waiting for somebody.

In each of them the history tells what the row says. A failure prints the line that plays it again.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from contracts.messages import Reply
from contracts.orders import OrderCancelRequested, OrderPlaced
from contracts.values import OrderId, OrderLine, Rejection, ShopId, VatAmount, VatRate
from sagas.cancel_order import CANCEL_ORDER
from sagas.engine import moving, rebuilding, verbs
from sagas.engine.history import Kind
from sagas.engine.instance import Asking, Instance, Status
from sagas.engine.machine import Ask
from sagas.engine.rebuilding import HistoryWithoutStart, rebuilt
from sagas.engine.verify import verify
from sagas.place_order import PLACE_ORDER
from tests.kit import CALM, HONEST, NOON, Fault, PromiseBroken, Weather, storm
from tests.kit.dialogue import SAGA_ID, TENANT_ID
from tests.kit.participants import Participant, Row, number_of
from tests.kit.shapes import Begun, shape
from tests.kit.world import World

RUNS: Final = 10_000
ORDER_RUNS: Final = {"on account": 800, "by card, accepted by hand": 1_700}
CANCEL_RUNS: Final = 500
SHAPES: Final = 350
RUNS_PER_SHAPE: Final = 20
PARTS: Final = 5
FEW: Final = 10
ENDS: Final = {"COMPLETED", "ABANDONED", "NEEDS_ATTENTION", "PAUSED", "PARKED"}
ON_ACCOUNT: Final = OrderPlaced(
    order_id=OrderId(UUID(int=3)), shop_id=ShopId(UUID(int=4)), lines=(OrderLine(sku="APPLE", quantity=2),), total=250, placed_at=NOON
)
ORDERS: Final = {
    "on account": ON_ACCOUNT,
    "by card, accepted by hand": ON_ACCOUNT.model_copy(
        update={"payment": "tok_1", "accept_by_hand": True, "vat": (VatAmount(rate=VatRate.STANDARD, total=250, vat=42),)}
    ),
}
CANCEL: Final = OrderCancelRequested(order_id=ON_ACCOUNT.order_id, reason="changed my mind", paid=True)
EVERYTHING: Final = frozenset(Fault)


def begun(number: int) -> Begun:
    return Begun(wishes=number * 2_654_435_761 % 2**20)


def test_the_runs_are_ten_thousand() -> None:
    assert sum(ORDER_RUNS.values()) + CANCEL_RUNS + SHAPES * RUNS_PER_SHAPE == RUNS


@pytest.mark.parametrize("kind", ORDERS)
def test_place_order_keeps_its_promise_whatever_happens(kind: str) -> None:
    weather = storm(PLACE_ORDER, ORDERS[kind], runs=ORDER_RUNS[kind])
    # The runs go everywhere, or they would prove little.
    assert set(weather.states) == ENDS, weather.states
    unreached = {Rejection.PAYMENT_REFUSED, Rejection.NOT_ACCEPTED} if kind == "on account" else set()
    assert {why for _, why in weather.ends} == {None, *Rejection} - unreached, weather.ends
    assert set(Kind) - set(weather.kinds) <= {Kind.CONTRADICTED, Kind.OVERTAKEN, Kind.TRY_LATER, Kind.OVERDUE}, weather.kinds


def test_cancel_order_only_goes_forward_and_keeps_its_promise() -> None:
    weather = storm(CANCEL_ORDER, CANCEL, runs=CANCEL_RUNS)
    assert set(weather.states) == ENDS - {"ABANDONED"}, weather.states


@pytest.mark.parametrize("part", range(PARTS))
def test_sagas_of_every_shape_keep_the_promise(part: int) -> None:
    """Every second one among participants that contradict themselves as well."""
    states, kinds = Counter[Any](), Counter[Any]()
    for number in range(part, SHAPES, PARTS):
        saga = shape(number)
        verify(saga)
        faults = EVERYTHING if number // PARTS % 2 else HONEST
        weather = storm(saga, begun(number), runs=RUNS_PER_SHAPE, seed=number * RUNS_PER_SHAPE, faults=faults)
        states += weather.states
        kinds += weather.kinds
    assert set(states) == ENDS, states
    # Many runs see each kind of fact, or they would prove little of it.
    # Operators skip with the truth here, so no participant answers otherwise afterwards.
    assert min(kinds[kind] for kind in set(Kind) - {Kind.OVERTAKEN}) > FEW, kinds


def test_a_later_step_is_told_what_the_earlier_one_answered() -> None:
    handed_on = 0
    for number in range(40):
        saga = shape(number)
        steps = list(saga.steps_by_name)
        for ask in World(saga, begun(number), number, faults=CALM).run().asked:
            seen = getattr(ask.command, "seen", None)
            assert seen is None or seen in map(number_of, steps[: steps.index(ask.step)])
            handed_on += seen is not None
    assert handed_on > 40


def test_a_history_must_begin_at_the_start() -> None:
    world = World(CANCEL_ORDER, CANCEL, 1).run()
    with pytest.raises(HistoryWithoutStart):
        rebuilt(CANCEL_ORDER, SAGA_ID, TENANT_ID, CANCEL, world.history[1:])


# What must break the promise


class Forgetful(Participant):
    """Its inbox remembers no answer."""

    def handle(self, ask: Ask, refusal: Any) -> Reply:
        self.answers.clear()
        return super().handle(ask, refusal)


class WithoutTombstones(Participant):
    """Its undo leaves nothing behind, so a late ask holds for ever."""

    def withdraw(self, ask: Ask) -> Reply:
        answer = super().withdraw(ask)
        self.row = Row.NOTHING
        return answer


@pytest.mark.parametrize("participants", [Forgetful, WithoutTombstones])
def test_without_the_remembered_answer_or_the_tombstone_the_promise_breaks(participants: type[Participant]) -> None:
    with pytest.raises(PromiseBroken, match="still held"):
        storm(PLACE_ORDER, ORDERS["by card, accepted by hand"], participants=participants)


def _gives_up_at_once(move: Any, asking: Asking) -> None:
    move.note(Kind.SILENT, move.change(asking, status=Status.SILENT, deadline=None))


FAULTED_UNHEARD: Final = frozenset((Fault.FAULT, Fault.DROP))
ENGINE_MUTANTS: Final[Mapping[str, tuple[Any, str, Any, frozenset[Fault]]]] = {
    "what never answered is not undone": (
        Asking,
        "may_have_taken_effect",
        property(lambda asking: asking.status is Status.ANSWERED),
        HONEST,
    ),
    "an operator cancels past the point of no return": (verbs, "is_past_return", lambda saga, instance: False, HONEST),
    "parking ends in undoing even past the point of no return": (moving, "is_past_return", lambda saga, instance: False, FAULTED_UNHEARD),
    "what must be answered is asked once": (moving.Move, "_insist", _gives_up_at_once, HONEST),
    "a contradiction stops nothing": (Instance, "is_held", property(lambda instance: instance.paused_at is not None), EVERYTHING),
    "a contradiction is not noticed": (moving.Move, "take_contradiction", lambda move, asking, reply: None, EVERYTHING),
    "the history passes over time": (rebuilding, "_TIME_PASSED", (), HONEST),
}


@pytest.mark.parametrize("mutant", ENGINE_MUTANTS)
def test_an_engine_with_a_bug_breaks_the_promise(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, wrong, faults = ENGINE_MUTANTS[mutant]
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(AssertionError):
        storm(PLACE_ORDER, ORDERS["by card, accepted by hand"], runs=1_000, faults=faults)


# What the kit promises itself


def test_without_trouble_every_run_completes() -> None:
    weather = storm(PLACE_ORDER, ON_ACCOUNT, runs=20, faults=())
    assert set(weather.states) == {"COMPLETED"}
    assert set(weather.kinds) == {Kind.STARTED, Kind.ASKED, Kind.ANSWERED, Kind.COMPLETED}


ALONE: Final = {
    Fault.DROP: Kind.SILENT,
    Fault.DELAY: Kind.SILENT,
    Fault.SILENCE: Kind.SILENT,
    Fault.REFUSE: Kind.REFUSED,
    Fault.FAULT: Kind.PARKED,
    Fault.OPERATORS: Kind.CANCELLED,
    Fault.CONTRADICT: Kind.CONTRADICTED,
}


def _alone(fault: Fault) -> Weather:
    return storm(PLACE_ORDER, ON_ACCOUNT, runs=150, faults={fault})


@pytest.mark.parametrize("fault", ALONE)
def test_each_trouble_is_a_switch_of_its_own(fault: Fault) -> None:
    kinds = _alone(fault).kinds
    assert kinds[ALONE[fault]] > 0
    others = {Kind.REFUSED: Fault.REFUSE, Kind.FAULTED: Fault.FAULT, Kind.CONTRADICTED: Fault.CONTRADICT, Kind.RETRIED: Fault.OPERATORS}
    assert {others[kind] for kind in kinds if kind in others} <= {fault}


@pytest.mark.parametrize("fault", [Fault.DUPLICATE, Fault.REORDER, Fault.CRASH, Fault.REPLAY])
def test_what_a_saga_must_not_even_notice_leaves_no_trace(fault: Fault) -> None:
    assert set(_alone(fault).states) == {"COMPLETED"}


def test_a_broken_promise_is_told_and_its_line_plays_exactly_that_run_again() -> None:
    order, faults = ON_ACCOUNT, {Fault.DROP, Fault.SILENCE, Fault.DELAY}
    with pytest.raises(PromiseBroken) as broken:
        storm(PLACE_ORDER, order, faults=faults, participants=WithoutTombstones)
    assert broken.value.replay.startswith("storm(PLACE_ORDER, ")
    assert "Started." in str(broken.value)
    assert "Abandoned, because of NO_ANSWER" in str(broken.value)
    with pytest.raises(PromiseBroken) as again:
        eval(broken.value.replay, {**globals(), **locals()})
    assert again.value.problems == broken.value.problems
    assert again.value.world.history == broken.value.world.history


def test_a_saga_that_raises_is_told_with_its_seed() -> None:
    class Broken(Participant):
        def success(self, command: Any) -> Reply:
            raise ZeroDivisionError(command)

    with pytest.raises(ZeroDivisionError) as error:
        storm(PLACE_ORDER, ON_ACCOUNT, seed=5, runs=1, participants=Broken)
    assert "Play it again: storm(PLACE_ORDER, ON_ACCOUNT, runs=1, seed=5, participants=Broken)" in error.value.__notes__[0]


def test_time_in_a_run_costs_nothing() -> None:
    worlds = [World(PLACE_ORDER, ON_ACCOUNT, seed).run() for seed in range(200)]
    assert max(world.now for world in worlds) - NOON > timedelta(hours=24)
