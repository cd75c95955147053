"""Message name <-> class: the only list of all messages.

A name is `<owner>.<Message>.v<version>`. A new version is a new class and a new line here; a line is never reused.
"""

from collections.abc import Mapping
from typing import Final

from contracts import desk, inventory, messages, orders, payments, sagas, tenants
from contracts.messages import Message

CATALOG: Final[Mapping[str, type[Message]]] = {
    "sagas.StepFaulted.v1": messages.StepFaulted,
    "sagas.SagaHalted.v1": sagas.SagaHalted,
    "sagas.SagaResumed.v1": sagas.SagaResumed,
    "sagas.SagaEnded.v1": sagas.SagaEnded,
    "ops.AskIfHandled.v1": desk.AskIfHandled,
    "ops.HandlingReported.v1": desk.HandlingReported,
    "ops.LetterSettled.v1": desk.LetterSettled,
    "tenants.ReserveQuota.v1": tenants.ReserveQuota,
    "tenants.QuotaReserved.v1": tenants.QuotaReserved,
    "tenants.QuotaExceeded.v1": tenants.QuotaExceeded,
    "tenants.TenantSuspended.v1": tenants.TenantSuspended,
    "tenants.ReleaseQuota.v1": tenants.ReleaseQuota,
    "tenants.QuotaReleased.v1": tenants.QuotaReleased,
    "tenants.ChargeOrder.v1": tenants.ChargeOrder,
    "tenants.OrderCharged.v1": tenants.OrderCharged,
    "tenants.SpendingLimitReached.v1": tenants.SpendingLimitReached,
    "tenants.RefundOrder.v1": tenants.RefundOrder,
    "tenants.OrderRefunded.v1": tenants.OrderRefunded,
    "inventory.ReserveStock.v1": inventory.ReserveStock,
    "inventory.StockReserved.v1": inventory.StockReserved,
    "inventory.OutOfStock.v1": inventory.OutOfStock,
    "inventory.ReleaseStock.v1": inventory.ReleaseStock,
    "inventory.StockReleased.v1": inventory.StockReleased,
    "inventory.ShopOpened.v1": inventory.ShopOpened,
    "inventory.ProductListed.v1": inventory.ProductListed,
    "orders.OrderPlaced.v1": orders.OrderPlaced,
    "orders.ApproveOrder.v1": orders.ApproveOrder,
    "orders.OrderApproved.v1": orders.OrderApproved,
    "orders.OrderCancelled.v1": orders.OrderCancelled,
    "orders.RejectOrder.v1": orders.RejectOrder,
    "orders.OrderRejected.v1": orders.OrderRejected,
    "orders.OrderCompleted.v1": orders.OrderCompleted,
    "orders.RequestAcceptance.v1": orders.RequestAcceptance,
    "orders.OrderAccepted.v1": orders.OrderAccepted,
    "orders.OrderDeclined.v1": orders.OrderDeclined,
    "orders.WithdrawAcceptance.v1": orders.WithdrawAcceptance,
    "orders.AcceptanceWithdrawn.v1": orders.AcceptanceWithdrawn,
    "orders.OrderCancelRequested.v1": orders.OrderCancelRequested,
    "orders.MarkOrderCancelled.v1": orders.MarkOrderCancelled,
    "orders.OrderMarkedCancelled.v1": orders.OrderMarkedCancelled,
    "payments.AuthorisePayment.v1": payments.AuthorisePayment,
    "payments.PaymentAuthorised.v1": payments.PaymentAuthorised,
    "payments.PaymentRefused.v1": payments.PaymentRefused,
    "payments.CapturePayment.v1": payments.CapturePayment,
    "payments.PaymentCaptured.v1": payments.PaymentCaptured,
    "payments.ReturnPayment.v1": payments.ReturnPayment,
    "payments.PaymentReturned.v1": payments.PaymentReturned,
}

_NAMES: Final[Mapping[type[Message], str]] = {message: name for name, message in CATALOG.items()}


class UnknownMessage(LookupError):
    """No message of that name is in contracts/catalog.py."""

    def __init__(self, name: object) -> None:
        super().__init__(f"{name!r} is not in contracts/catalog.py")
        self.name = name


def class_of(name: str) -> type[Message]:
    """The class that travels under `name`; raises UnknownMessage."""
    try:
        return CATALOG[name]
    except KeyError:
        raise UnknownMessage(name) from None


def name_of(message: type[Message]) -> str:
    """The name that the class travels under; raises UnknownMessage."""
    try:
        return _NAMES[message]
    except KeyError:
        raise UnknownMessage(message.__name__) from None


def owner_of(message: type[Message]) -> str:
    """The service that a command is for, or that an event or reply comes from."""
    return name_of(message).split(".", 1)[0]
