"""Answers those whose commands wait for a payment, as far as they can be answered now; in the transaction that made it so."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts.messages import Command, Later, Reply
from contracts.payments import AuthorisePayment, CapturePayment, ReturnPayment
from infra.deferred import Asked, Deferred
from infra.transaction import Scope
from services.payments.model import Payment
from services.payments.provider import Operation
from services.payments.use_cases import is_authorised, is_captured, is_returned

_DEFERRED: Final = Deferred("payments")
_WAITS_FOR: Final[Mapping[Operation, type[Command[Any]]]] = {
    Operation.AUTHORISE: AuthorisePayment,
    Operation.CAPTURE: CapturePayment,
    Operation.VOID: ReturnPayment,
    Operation.REFUND: ReturnPayment,
}


async def answer_whoever_waits(scope: Scope, payments: Sequence[Payment]) -> None:
    """The payments' rows are locked and saved: whoever asks from now on sees what they say. As many statements for many as for one."""
    replies: dict[Asked, Reply] = {}
    for payment in payments:
        replies |= _answers(payment)
    await _DEFERRED.answer_all(scope, replies)


async def tell_whoever_waits(scope: Scope, payment: Payment, operation: Operation, code: str) -> None:
    """Say why there is no answer: the provider refuses the operation. They wait on, and so do we."""
    error = f"the payment provider refuses to {operation.value.lower()}: {code}"
    fingerprint = hashlib.sha256(f"{operation}|{code}".encode()).hexdigest()[:16]
    await _DEFERRED.fault(scope, _WAITS_FOR[operation], str(payment.order_id), error, fingerprint)


def _answers(payment: Payment) -> dict[Asked, Reply]:
    subject = str(payment.order_id)
    told: dict[Asked, Reply | Later] = {
        (AuthorisePayment, subject): is_authorised(payment),
        (CapturePayment, subject): is_captured(payment),
        (ReturnPayment, subject): is_returned(payment),
    }
    return {asked: reply for asked, reply in told.items() if not isinstance(reply, Later)}
