"""What `tenants` understands and answers: the monthly quota that an order takes a place in, and the ledger that it is charged to."""

from pydantic import AwareDatetime, Field

from contracts.messages import Command, Refusal, Reply
from contracts.values import OrderId, Pence, VatAmount


class QuotaReserved(Reply):
    """The order has its place in the month's quota and its amount under the spending limit."""


class QuotaExceeded(Refusal):
    """The month's orders or its spending limit are used up, or the order was withdrawn before it was asked for."""


class TenantSuspended(Refusal):
    """The tenant may not place orders for the time being, or is not known."""


class QuotaReleased(Reply):
    """Nothing is held for the order, and nothing will be: a later `ReserveQuota` for it is refused."""


class ReserveQuota(Command[QuotaReserved | QuotaExceeded | TenantSuspended]):
    """Hold one order and its amount in the quota of the month (UTC) in which it was placed."""

    order_id: OrderId
    amount: Pence
    placed_at: AwareDatetime


class ReleaseQuota(Command[QuotaReleased]):
    """Undo `ReserveQuota`, also one that has not arrived yet."""

    order_id: OrderId


class OrderCharged(Reply):
    """The ledger has the order's charge, one entry for each VAT rate."""


class SpendingLimitReached(Refusal):
    """The month's spending limit is used up, or the order was refunded before it was charged; the ledger has no charge."""


class ChargeOrder(Command[OrderCharged | SpendingLimitReached | TenantSuspended]):
    """Enter the order's amounts, which add up to `total`, in the tenant's ledger, in the month (UTC) in which it was placed."""

    order_id: OrderId
    total: Pence
    amounts: tuple[VatAmount, ...] = Field(min_length=1)
    placed_at: AwareDatetime


class OrderRefunded(Reply):
    """Whatever was charged for the order is refunded, and nothing will be charged: a later `ChargeOrder` for it is refused."""


class RefundOrder(Command[OrderRefunded]):
    """Enter a refund of all that the order was charged, also of a `ChargeOrder` that has not arrived yet. Nothing is deleted."""

    order_id: OrderId
