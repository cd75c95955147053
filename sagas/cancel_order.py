"""Cancelling a confirmed order: give everything back at once, then close it. There is no way back from it, only forward."""

from datetime import timedelta
from typing import Never

from contracts.inventory import ReleaseStock
from contracts.orders import MarkOrderCancelled, OrderCancelRequested
from contracts.payments import ReturnPayment
from contracts.tenants import RefundOrder, ReleaseQuota
from sagas.engine.definition import Saga, Step, parallel

CANCEL_ORDER: Saga[OrderCancelRequested, Never] = Saga(
    name="cancel-order",
    version=1,
    started_by=OrderCancelRequested,
    then=(
        parallel(
            Step(
                name="release-stock",
                ask=lambda order, so_far: ReleaseStock(order_id=order.order_id),
                within=timedelta(seconds=30),
            ),
            Step(
                name="release-quota",
                ask=lambda order, so_far: ReleaseQuota(order_id=order.order_id),
                within=timedelta(seconds=10),
            ),
            Step(
                name="refund-order",
                ask=lambda order, so_far: RefundOrder(order_id=order.order_id),
                within=timedelta(seconds=10),
            ),
            Step(
                name="return-payment",
                ask=lambda order, so_far: ReturnPayment(order_id=order.order_id),
                within=timedelta(seconds=60),
                when=lambda order, so_far: order.paid,
            ),
        ),
        Step(
            name="mark-cancelled",
            ask=lambda order, so_far: MarkOrderCancelled(order_id=order.order_id),
            within=timedelta(seconds=10),
        ),
    ),
)
