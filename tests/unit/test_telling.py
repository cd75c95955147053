"""What a saga's move is told as, when several moves of one batch fold into one."""

from contracts.messages import StepFaulted
from contracts.sagas import SagaHalted
from contracts.tenants import QuotaReserved
from sagas.engine.held import Held
from sagas.engine.instance import State
from sagas.engine.telling import event_of
from sagas.place_order import PLACE_ORDER
from tests.unit.test_machine_rules import QUOTA, STOCK, Run
from tests.unit.test_place_order import FAULT


def test_a_saga_that_is_parked_for_another_reason_than_before_says_so() -> None:
    run = Run()
    run.answer(QUOTA, FAULT)
    before = run.instance
    run.answer(QUOTA, QuotaReserved())
    run.answer(STOCK, StepFaulted(error="another", fingerprint="beef" * 4))
    assert (before.state, run.instance.state) == (State.PARKED, State.PARKED)
    event = event_of(Held(PLACE_ORDER, run.instance, "x", before=before))
    assert isinstance(event, SagaHalted)
    assert (event.state, event.step, event.fingerprint) == ("PARKED", STOCK, "beef" * 4)


def test_a_saga_that_is_parked_as_before_says_nothing() -> None:
    run = Run()
    run.answer(QUOTA, FAULT)
    assert event_of(Held(PLACE_ORDER, run.instance, "x", before=run.instance)) is None
