"""Answers those whose commands wait for a payment, as far as they can be answered now; in the transaction that made it so."""

from typing import Final

from contracts.messages import Later
from contracts.payments import AuthorisePayment, CapturePayment, ReturnPayment
from infra.deferred import Deferred
from infra.transaction import Scope
from services.payments.model import Payment
from services.payments.use_cases import is_authorised, is_captured, is_returned

_DEFERRED: Final = Deferred("payments")


async def answer_whoever_waits(scope: Scope, payment: Payment) -> None:
    """The payment's row is locked and saved: whoever asks from now on sees what it says."""
    subject = str(payment.order_id)
    if not isinstance(authorised := is_authorised(payment), Later):
        await _DEFERRED.answer(scope, AuthorisePayment, subject, authorised)
    if not isinstance(captured := is_captured(payment), Later):
        await _DEFERRED.answer(scope, CapturePayment, subject, captured)
    if not isinstance(returned := is_returned(payment), Later):
        await _DEFERRED.answer(scope, ReturnPayment, subject, returned)
