"""Version 1 of placing an order, for those that began with it: without ledger, payment and acceptance. It goes when none is left."""

from datetime import timedelta

from contracts.inventory import OutOfStock, ReleaseStock, ReserveStock
from contracts.orders import ApproveOrder, OrderCancelled, OrderPlaced, RejectOrder
from contracts.tenants import QuotaExceeded, ReleaseQuota, ReserveQuota, TenantSuspended
from contracts.values import Rejection
from sagas.engine.definition import Saga, Step, parallel

PLACE_ORDER_1 = Saga(
    name="place-order",
    version=1,
    started_by=OrderPlaced,
    steps=(
        parallel(
            Step(
                name="reserve-quota",
                ask=lambda order, so_far: ReserveQuota(order_id=order.order_id, amount=order.total, placed_at=order.placed_at),
                undo=lambda order, so_far: ReleaseQuota(order_id=order.order_id),
                refusals={QuotaExceeded: Rejection.OVER_QUOTA, TenantSuspended: Rejection.TENANT_SUSPENDED},
                within=timedelta(seconds=10),
            ),
            Step(
                name="reserve-stock",
                ask=lambda order, so_far: ReserveStock(order_id=order.order_id, shop_id=order.shop_id, lines=order.lines),
                undo=lambda order, so_far: ReleaseStock(order_id=order.order_id),
                refusals={OutOfStock: Rejection.OUT_OF_STOCK},
                within=timedelta(seconds=30),
            ),
        ),
    ),
    pivot=Step(
        name="approve-order",
        ask=lambda order, so_far: ApproveOrder(order_id=order.order_id),
        refusals={OrderCancelled: Rejection.CANCELLED},
        within=timedelta(seconds=10),
    ),
    abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=why),
    no_answer=Rejection.NO_ANSWER,
    fault=Rejection.FAULT,
    cancelled=Rejection.CANCELLED,
    begins=False,
)
