"""Which use case answers which command."""

from typing import Final

from contracts.payments import AuthorisePayment, CapturePayment, ReturnPayment
from infra.handling import Handles, handles
from services.payments.repository import PaymentRepository
from services.payments.use_cases import authorise_payment, capture_payment, return_payment

HANDLES: Final[tuple[Handles, ...]] = (
    handles(
        PaymentRepository(),
        AuthorisePayment.answered_by(authorise_payment),
        CapturePayment.answered_by(capture_payment),
        ReturnPayment.answered_by(return_payment),
    ),
)
