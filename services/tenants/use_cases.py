"""What can be asked of tenants: one pure decision each, on a quota that the edge has loaded and will save."""

from contracts.orders import OrderCompleted
from contracts.tenants import QuotaExceeded, QuotaReleased, QuotaReserved, ReleaseQuota, ReserveQuota, TenantSuspended
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
    if not quota.has_room(command.placed_at, command.amount):
        return QuotaExceeded()
    quota.hold(command.order_id, command.placed_at, command.amount)
    return QuotaReserved()


def release_quota(command: ReleaseQuota, quota: Quota) -> QuotaReleased:
    """Hold no place for the order, now and later."""
    quota.withdraw(command.order_id)
    return QuotaReleased()


def settle_quota(event: OrderCompleted, quota: Quota) -> None:
    """The order's place is used for good."""
    quota.settle(event.order_id)
