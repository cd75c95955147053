"""A fault is not silence: the saga parks, resumes on a later answer, and asks for attention where undoing would be a guess."""

from datetime import timedelta

import pytest

from contracts.inventory import OutOfStock
from contracts.messages import StepFaulted
from contracts.orders import OrderApproved, OrderCancelled, OrderRejected
from contracts.tenants import QuotaReleased, QuotaReserved
from contracts.values import Rejection
from sagas.engine.instance import Phase, State
from sagas.engine.machine import Moved
from sagas.place_order import PLACE_ORDER
from tests.kit.dialogue import NOON
from tests.unit.test_machine_rules import APPROVE, QUOTA, STOCK, Run
from tests.unit.test_place_order import FAULT, STOCK_RESERVED


@pytest.mark.parametrize("phase", [Phase.UNDO, Phase.ABANDON])
def test_a_fault_on_the_way_back_asks_for_attention(phase: Phase) -> None:
    run = Run()
    run.answer(STOCK, OutOfStock())
    if phase is Phase.ABANDON:
        run.undone(QUOTA, QuotaReleased())
    step, reply = {Phase.UNDO: (QUOTA, QuotaReleased()), Phase.ABANDON: ("abandon", OrderRejected())}[phase]
    run.answer(step, FAULT, phase)
    assert (run.state(), run.instance.wake_at) == (State.NEEDS_ATTENTION, None)
    run.answer(step, reply, phase)
    assert run.state() in (State.ABANDONING, State.ABANDONED)


def test_a_parked_saga_waits_and_a_later_answer_resumes_it_with_new_time() -> None:
    run = Run()
    run.answer(QUOTA, FAULT)
    assert (run.state(), run.instance.wake_at) == (State.PARKED, NOON + timedelta(hours=24))
    run.wait(3600)
    run.answer(QUOTA, QuotaReserved())
    assert (run.state(), run.instance.wake_at) == (State.RUNNING, run.now + timedelta(seconds=30))
    # The hour in which it was parked does not count against the saga's own deadline either.
    assert run.instance.deadline == run.now + PLACE_ORDER.deadline


def test_while_parked_the_other_answers_are_recorded() -> None:
    run = Run()
    run.answer(QUOTA, FAULT)
    run.answer(STOCK, STOCK_RESERVED)
    assert run.state() is State.PARKED
    run.answer(QUOTA, QuotaReserved())
    assert run.asked()[-1] == (Phase.ASK, APPROVE)


def test_while_parked_a_refusal_of_another_step_decides() -> None:
    run = Run()
    run.answer(QUOTA, FAULT)
    run.answer(STOCK, OutOfStock())
    assert (run.state(), run.instance.why) == (State.COMPENSATING, Rejection.OUT_OF_STOCK)
    assert run.asked()[2:] == [(Phase.UNDO, QUOTA)]


def test_a_second_fault_of_a_parked_step_changes_nothing() -> None:
    run = Run()
    run.answer(QUOTA, FAULT)
    run.wait(60)
    assert run.answer(QUOTA, StepFaulted(error="again", fingerprint="g")) == Moved(run.instance)


def test_two_faulted_steps_keep_it_parked_until_both_have_answered() -> None:
    run = Run()
    run.answer(QUOTA, FAULT)
    run.wait(60)
    run.answer(STOCK, FAULT)
    run.answer(QUOTA, QuotaReserved())
    assert (run.state(), run.instance.wake_at) == (State.PARKED, NOON + timedelta(hours=24))
    run.answer(STOCK, STOCK_RESERVED)
    assert run.state() is State.RUNNING


def test_parking_ends_in_undoing_what_may_have_happened() -> None:
    run = Run()
    run.answer(QUOTA, QuotaReserved())
    run.answer(STOCK, FAULT)
    run.wake()
    assert (run.instance.why, run.asked()[2:]) == (Rejection.FAULT, [(Phase.UNDO, STOCK), (Phase.UNDO, QUOTA)])


def test_a_faulted_pivot_is_never_undone_but_asks_for_attention() -> None:
    run = Run().to_pivot()
    run.answer(APPROVE, FAULT)
    assert run.state() is State.PARKED
    run.wake()
    assert (run.state(), run.instance.why, run.instance.wake_at) == (State.NEEDS_ATTENTION, None, None)
    run.answer(APPROVE, OrderApproved())
    assert run.state() is State.COMPLETED


def test_a_faulted_pivot_may_still_refuse() -> None:
    run = Run().to_pivot()
    run.answer(APPROVE, FAULT)
    run.answer(APPROVE, OrderCancelled())
    assert (run.state(), run.instance.why) == (State.COMPENSATING, Rejection.CANCELLED)
