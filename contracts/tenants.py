"""What `tenants` understands and answers: the monthly quota that an order takes a place in."""

from pydantic import AwareDatetime

from contracts.messages import Command, Refusal, Reply
from contracts.values import OrderId, Pence


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
