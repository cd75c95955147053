"""What can be asked of tenants: one pure decision each, on a quota that the edge has loaded and will save."""

from contracts.orders import OrderCompleted
from contracts.tenants import (
    ChargeOrder,
    OrderCharged,
    OrderRefunded,
    QuotaExceeded,
    QuotaReleased,
    QuotaReserved,
    RefundOrder,
    ReleaseQuota,
    ReserveQuota,
    SpendingLimitReached,
    TenantSuspended,
)
from services.tenants.model import Quota


def reserve_quota(command: ReserveQuota, quota: Quota) -> QuotaReserved | QuotaExceeded | TenantSuspended:
    """Hold a place and the amount in the month in which the order was placed, or neither."""
    # A release that overtook this command has withdrawn the order already.
    if quota.is_withdrawn(command.order_id):
        return QuotaExceeded()
    if quota.has_place_for(command.order_id):
        return QuotaReserved()
    if quota.is_suspended:
        return TenantSuspended()
    if not quota.has_room(command.order_id, command.placed_at, command.amount):
        return QuotaExceeded()
    quota.hold(command.order_id, command.placed_at, command.amount)
    return QuotaReserved()


def release_quota(command: ReleaseQuota, quota: Quota) -> QuotaReleased:
    """Hold no place for the order, now and later."""
    quota.withdraw(command.order_id)
    return QuotaReleased()


def charge_order(command: ChargeOrder, quota: Quota) -> OrderCharged | SpendingLimitReached | TenantSuspended:
    """Enter the order's amounts in the ledger, or none of them."""
    # A refund that overtook this command lets nothing be charged any more.
    if quota.is_refunded(command.order_id):
        return SpendingLimitReached()
    if quota.is_charged(command.order_id):
        return OrderCharged()
    if quota.is_suspended:
        return TenantSuspended()
    if not quota.can_spend(command.order_id, command.placed_at, command.total):
        return SpendingLimitReached()
    quota.charge(command)
    return OrderCharged()


def refund_order(command: RefundOrder, quota: Quota) -> OrderRefunded:
    """Let the order cost nothing, now and later; a suspended tenant's as well."""
    quota.refund(command.order_id)
    return OrderRefunded()


def settle_quota(event: OrderCompleted, quota: Quota) -> None:
    """The order's place is used for good."""
    quota.settle(event.order_id)
