"""Placing an order: quota, ledger and stock at once, then the card and the shop if they are asked, then confirm; or undo all and reject."""

from datetime import timedelta

from contracts.inventory import OutOfStock, ReleaseStock, ReserveStock
from contracts.orders import (
    ApproveOrder,
    OrderCancelled,
    OrderDeclined,
    OrderPlaced,
    RejectOrder,
    RequestAcceptance,
    WithdrawAcceptance,
)
from contracts.payments import AuthorisePayment, CapturePayment, PaymentRefused, ReturnPayment
from contracts.tenants import ChargeOrder, QuotaExceeded, RefundOrder, ReleaseQuota, ReserveQuota, SpendingLimitReached, TenantSuspended
from contracts.values import Rejection
from sagas.engine.definition import Saga, Step, parallel

PLACE_ORDER = Saga(
    name="place-order",
    version=2,
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
                name="charge-order",
                ask=lambda order, so_far: ChargeOrder(
                    order_id=order.order_id, total=order.total, amounts=order.vat, placed_at=order.placed_at
                ),
                undo=lambda order, so_far: RefundOrder(order_id=order.order_id),
                refusals={SpendingLimitReached: Rejection.OVER_QUOTA, TenantSuspended: Rejection.TENANT_SUSPENDED},
                within=timedelta(seconds=10),
                when=lambda order, so_far: bool(order.vat),
            ),
            Step(
                name="reserve-stock",
                ask=lambda order, so_far: ReserveStock(order_id=order.order_id, shop_id=order.shop_id, lines=order.lines),
                undo=lambda order, so_far: ReleaseStock(order_id=order.order_id),
                refusals={OutOfStock: Rejection.OUT_OF_STOCK},
                within=timedelta(seconds=30),
            ),
        ),
        Step(
            name="authorise-payment",
            ask=lambda order, so_far: AuthorisePayment(order_id=order.order_id, amount=order.total, token=order.payment or ""),
            undo=lambda order, so_far: ReturnPayment(order_id=order.order_id),
            refusals={PaymentRefused: Rejection.PAYMENT_REFUSED},
            within=timedelta(seconds=60),
            when=lambda order, so_far: order.payment is not None,
        ),
        Step(
            name="accept-order",
            ask=lambda order, so_far: RequestAcceptance(order_id=order.order_id),
            undo=lambda order, so_far: WithdrawAcceptance(order_id=order.order_id),
            refusals={OrderDeclined: Rejection.NOT_ACCEPTED},
            within=timedelta(minutes=10),
            when=lambda order, so_far: order.accept_by_hand,
            no_answer=Rejection.NOT_ACCEPTED,
        ),
    ),
    pivot=Step(
        name="approve-order",
        ask=lambda order, so_far: ApproveOrder(order_id=order.order_id),
        refusals={OrderCancelled: Rejection.CANCELLED},
        within=timedelta(seconds=10),
    ),
    then=(
        Step(
            name="capture-payment",
            ask=lambda order, so_far: CapturePayment(order_id=order.order_id),
            within=timedelta(seconds=60),
            when=lambda order, so_far: order.payment is not None,
        ),
    ),
    abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=why),
    no_answer=Rejection.NO_ANSWER,
    fault=Rejection.FAULT,
    cancelled=Rejection.CANCELLED,
    deadline=timedelta(minutes=15),
)
