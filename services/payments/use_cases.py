"""What can be asked of payments: one pure decision each. Each says what is wanted, and answers if that is so already.

The three answers below are also what is told later, once the provider has been called: see services/payments/answering.py.
"""

from contracts.messages import LATER, Later
from contracts.payments import (
    AuthorisePayment,
    CapturePayment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentRefused,
    PaymentReturned,
    ReturnPayment,
)
from services.payments.model import Actual, Payment, Payments, Wanted

WITHDRAWN = "withdrawn"
"""The code of a refusal that is ours: the payment was given back before it was authorised."""


def authorise_payment(command: AuthorisePayment, payments: Payments) -> PaymentAuthorised | PaymentRefused | Later:
    """Have the amount held on the card."""
    payment = payments.of[command.order_id]
    payment.want_authorised(command.amount, command.token)
    return is_authorised(payment)


def capture_payment(command: CapturePayment, payments: Payments) -> PaymentCaptured | PaymentReturned | Later:
    """Have the held amount taken."""
    payment = payments.of[command.order_id]
    payment.want_captured()
    return is_captured(payment)


def return_payment(command: ReturnPayment, payments: Payments) -> PaymentReturned | Later:
    """Have nothing held and nothing taken, now and later."""
    payment = payments.of[command.order_id]
    payment.want_returned()
    return is_returned(payment)


def is_authorised(payment: Payment) -> PaymentAuthorised | PaymentRefused | Later:
    """What AuthorisePayment is answered; LATER while nobody can say."""
    if payment.actual is Actual.REFUSED:
        assert payment.refusal is not None, f"the payment of order {payment.order_id} was refused for no reason"
        return PaymentRefused(code=payment.refusal)
    if payment.wanted is Wanted.RETURNED:
        # A refusal says that nothing is held: while a call is in doubt or not yet undone, that would not be true.
        return PaymentRefused(code=WITHDRAWN) if payment.is_given_back else LATER
    return PaymentAuthorised(payment_id=payment.payment_id) if payment.actual in (Actual.AUTHORISED, Actual.CAPTURED) else LATER


def is_captured(payment: Payment) -> PaymentCaptured | PaymentReturned | Later:
    """What CapturePayment is answered; LATER while nobody can say."""
    if payment.is_given_back or payment.actual is Actual.REFUSED:
        return PaymentReturned()
    return PaymentCaptured() if payment.actual is Actual.CAPTURED and payment.wanted is Wanted.CAPTURED else LATER


def is_returned(payment: Payment) -> PaymentReturned | Later:
    """What ReturnPayment is answered; LATER while anything may be held or taken."""
    return PaymentReturned() if payment.is_given_back else LATER
