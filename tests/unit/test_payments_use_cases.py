"""What can be asked of payments, on payments in memory."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest

from contracts.messages import LATER
from contracts.payments import (
    AuthorisePayment,
    CapturePayment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentRefused,
    PaymentReturned,
    ReturnPayment,
)
from contracts.values import OrderId
from services.payments.model import Actual, NothingToCapture, Payment, Payments, Wanted, next_operation
from services.payments.provider import Call, Done, Operation, Outcome, Pending, Refused
from services.payments.use_cases import authorise_payment, capture_payment, is_authorised, return_payment

ORDER: Final = OrderId(UUID(int=1))
ID: Final = UUID(int=2)
AT: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
LEASE: Final = timedelta(seconds=20)
PAUSE: Final = timedelta(seconds=1)
AUTHORISE: Final = AuthorisePayment(order_id=ORDER, amount=250, token="tok_ok")
CAPTURE: Final = CapturePayment(order_id=ORDER)
RETURN: Final = ReturnPayment(order_id=ORDER)


def payments(actual: Actual = Actual.NONE, wanted: Wanted = Wanted.NOTHING, calling: Operation | None = None) -> Payments:
    """The order's payment as it is, and as it is wanted."""
    amount = None if wanted is Wanted.NOTHING else 250
    refusal = "insufficient_funds" if actual is Actual.REFUSED else None
    return Payments({ORDER: Payment(ORDER, ID, wanted, actual, amount, refusal=refusal, reference="acq_1", calling=calling)})


def called(held: Payments) -> tuple[Payment, Call]:
    """The payment, with its next call begun."""
    payment = held.of[ORDER]
    call = payment.intend(AT, LEASE)
    assert call is not None
    return payment, call


def test_an_authorisation_is_answered_when_the_provider_has() -> None:
    held = payments()
    assert authorise_payment(AUTHORISE, held) is LATER
    payment, call = called(held)
    assert (call.operation, call.amount, call.token, call.is_in_doubt) == (Operation.AUTHORISE, 250, "tok_ok", False)
    assert payment.learn(call, Done("acq_1"), AT, PAUSE)
    assert authorise_payment(AUTHORISE, held) == PaymentAuthorised(payment_id=ID)
    assert payment.token is None


def test_a_refused_authorisation_has_the_providers_reason_and_stays_refused() -> None:
    held = payments()
    authorise_payment(AUTHORISE, held)
    payment, call = called(held)
    payment.learn(call, Refused("insufficient_funds"), AT, PAUSE)
    assert authorise_payment(AUTHORISE, held) == PaymentRefused(code="insufficient_funds")
    assert capture_payment(CAPTURE, held) == PaymentReturned()
    assert return_payment(RETURN, held) == PaymentReturned()
    assert next_operation(payment) is None


def test_a_return_that_overtook_its_authorisation_wins() -> None:
    held = payments()
    assert return_payment(RETURN, held) == PaymentReturned()
    assert authorise_payment(AUTHORISE, held) == PaymentRefused(code="withdrawn")
    assert next_operation(held.of[ORDER]) is None


def test_a_return_before_the_call_was_begun_calls_for_nothing_and_refuses_whoever_waits() -> None:
    held = payments()
    assert authorise_payment(AUTHORISE, held) is LATER
    assert return_payment(RETURN, held) == PaymentReturned()
    assert is_authorised(held.of[ORDER]) == PaymentRefused(code="withdrawn")
    assert next_operation(held.of[ORDER]) is None


def test_a_return_beside_a_call_in_doubt_waits_until_it_is_known_and_undone() -> None:
    held = payments(wanted=Wanted.AUTHORISED)
    payment, call = called(held)
    payment.learn(call, None, AT, PAUSE)
    assert return_payment(RETURN, held) is LATER
    assert next_operation(payment) is Operation.AUTHORISE
    payment, again = called(held)
    assert again.key == call.key
    assert again.is_in_doubt
    payment.learn(again, Done("acq_1"), AT, PAUSE)
    assert is_authorised(payment) is LATER, "what is held is not yet let go"
    payment, void = called(held)
    assert void.operation is Operation.VOID
    payment.learn(void, Done("acq_1"), AT, PAUSE)
    assert return_payment(RETURN, held) == PaymentReturned()
    assert is_authorised(payment) == PaymentRefused(code="withdrawn")


def test_a_capture_is_answered_when_the_amount_is_taken() -> None:
    held = payments(Actual.AUTHORISED, Wanted.AUTHORISED)
    assert capture_payment(CAPTURE, held) is LATER
    payment, call = called(held)
    assert call.operation is Operation.CAPTURE
    payment.learn(call, Done("acq_1"), AT, PAUSE)
    assert capture_payment(CAPTURE, held) == PaymentCaptured()
    assert authorise_payment(AUTHORISE, held) == PaymentAuthorised(payment_id=ID)


def test_what_was_taken_is_refunded_and_cannot_be_taken_again() -> None:
    held = payments(Actual.CAPTURED, Wanted.CAPTURED)
    assert return_payment(RETURN, held) is LATER
    assert capture_payment(CAPTURE, held) is LATER
    payment, call = called(held)
    assert call.operation is Operation.REFUND
    payment.learn(call, Done("acq_1"), AT, PAUSE)
    assert return_payment(RETURN, held) == PaymentReturned()
    assert capture_payment(CAPTURE, held) == PaymentReturned()
    assert next_operation(payment) is None


def test_a_capture_that_nobody_authorised_is_a_bug() -> None:
    with pytest.raises(NothingToCapture):
        capture_payment(CAPTURE, payments())


def test_a_pending_payment_is_asked_about_and_one_given_back_is_not_waited_for() -> None:
    held = payments(wanted=Wanted.AUTHORISED)
    payment, call = called(held)
    payment.learn(call, Pending("acq_1"), AT, PAUSE)
    assert (payment.actual, payment.due_at) == (Actual.PENDING, AT + PAUSE)
    assert authorise_payment(AUTHORISE, held) is LATER
    payment, again = called(held)
    assert (again.key, again.is_in_doubt) == (call.key, True)
    payment.learn(again, Pending("acq_1"), AT, PAUSE)
    return_payment(RETURN, held)
    assert next_operation(payment) is Operation.VOID


def test_a_capture_that_the_provider_will_not_make_is_asked_on_until_it_is_given_back() -> None:
    held = payments(Actual.AUTHORISED, Wanted.CAPTURED)
    payment, call = called(held)
    payment.learn(call, Refused("expired"), AT, PAUSE)
    assert capture_payment(CAPTURE, held) is LATER
    assert (payment.due_at, payment.refusal) == (AT + PAUSE, "expired")
    return_payment(RETURN, held)
    assert next_operation(payment) is Operation.VOID


def test_each_further_try_of_what_was_refused_is_a_call_of_its_own() -> None:
    held = payments(Actual.AUTHORISED, Wanted.CAPTURED)
    calls = []
    for number in range(1, 4):
        payment, call = called(held)
        calls.append(call)
        payment.learn(call, Refused("try_again_later"), AT, PAUSE)
        assert (payment.refusals, payment.due_at, call.is_in_doubt) == (number, AT + PAUSE, False)
    assert [call.key for call in calls] == [f"{ID}:capture", f"{ID}:capture:2", f"{ID}:capture:3"]
    payment, call = called(held)
    payment.learn(call, None, AT, PAUSE)
    payment, again = called(held)
    assert (again.key, again.is_in_doubt) == (call.key, True), "what is in doubt is asked about, not called for anew"
    payment.learn(again, Done("acq_1"), AT, PAUSE)
    assert capture_payment(CAPTURE, held) == PaymentCaptured()
    assert (payment.refusals, payment.refusal) == (0, None)


def test_what_is_refused_when_it_is_not_wanted_any_more_holds_up_nothing() -> None:
    held = payments(Actual.AUTHORISED, Wanted.CAPTURED)
    payment, call = called(held)
    payment.learn(call, Refused("expired"), AT, PAUSE)
    payment, call = called(held)
    return_payment(RETURN, held)
    payment.learn(call, Refused("expired"), AT, PAUSE)
    assert (payment.refusals, payment.due_at) == (0, AT)
    payment, void = called(held)
    assert void.key == f"{ID}:void"


def test_a_refund_has_not_been_refused_because_the_capture_was() -> None:
    held = payments(Actual.AUTHORISED, Wanted.CAPTURED)
    payment, call = called(held)
    payment.learn(call, Refused("expired"), AT, PAUSE)
    return_payment(RETURN, held)
    assert payment.refusals == 0


def test_the_card_is_forgotten_when_nothing_was_ever_called_and_kept_while_a_call_is_in_doubt() -> None:
    never_called, in_doubt = payments(), payments()
    for held in (never_called, in_doubt):
        authorise_payment(AUTHORISE, held)
    called(in_doubt)
    for held in (never_called, in_doubt):
        return_payment(RETURN, held)
    assert never_called.of[ORDER].token is None
    assert in_doubt.of[ORDER].token == "tok_ok"


@pytest.mark.parametrize("outcome", [Done("acq_1"), Refused("no"), Pending("acq_1"), None])
def test_the_outcome_of_an_earlier_call_is_not_taken_over(outcome: Outcome | None) -> None:
    held = payments(wanted=Wanted.AUTHORISED)
    payment, slow = called(held)
    _, _ = called(held)
    assert not payment.learn(slow, outcome, AT, PAUSE)
    assert (payment.actual, payment.calling) == (Actual.NONE, Operation.AUTHORISE)


def test_a_command_lets_a_call_that_goes_on_finish_first() -> None:
    payment, _ = called(payments(wanted=Wanted.AUTHORISED))
    payment.be_seen_to(AT)
    assert payment.due_at == AT + LEASE


def test_once_there_is_nothing_to_do_nothing_is_due() -> None:
    payment = payments(Actual.AUTHORISED, Wanted.AUTHORISED).of[ORDER]
    payment.be_seen_to(AT)
    assert payment.due_at is None
    assert payment.intend(AT, LEASE) is None
