"""Which use case answers which command, and takes in which event."""

from typing import Final

from contracts.orders import OrderCompleted
from contracts.tenants import ChargeOrder, RefundOrder, ReleaseQuota, ReserveQuota
from infra.handling import Handles, handles
from services.tenants.repository import QuotaRepository
from services.tenants.use_cases import charge_order, refund_order, release_quota, reserve_quota, settle_quota

HANDLES: Final[tuple[Handles, ...]] = (
    handles(
        QuotaRepository(),
        ReserveQuota.answered_by(reserve_quota),
        ReleaseQuota.answered_by(release_quota),
        ChargeOrder.answered_by(charge_order),
        RefundOrder.answered_by(refund_order),
        OrderCompleted.heard_by(settle_quota),
    ),
)
