"""One message of every name in the catalog, with every field given. The golden files pin how each is written."""

from datetime import UTC, datetime
from uuid import UUID

from contracts.desk import AskIfHandled, HandlingReported, LetterSettled
from contracts.inventory import OutOfStock, ProductListed, ReleaseStock, ReserveStock, ShopOpened, StockReleased, StockReserved
from contracts.messages import Envelope, Message, StepFaulted
from contracts.orders import (
    AcceptanceWithdrawn,
    ApproveOrder,
    MarkOrderCancelled,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderCancelRequested,
    OrderCompleted,
    OrderDeclined,
    OrderMarkedCancelled,
    OrderPlaced,
    OrderRejected,
    RejectOrder,
    RequestAcceptance,
    WithdrawAcceptance,
)
from contracts.payments import (
    AuthorisePayment,
    CapturePayment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentRefused,
    PaymentReturned,
    ReturnPayment,
)
from contracts.sagas import SagaEnded, SagaHalted, SagaResumed
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
from contracts.values import Allergen, OrderId, OrderLine, Rejection, SagaId, ShopId, TenantId, VatAmount, VatRate

ORDER = OrderId(UUID("018f3a52-7c1e-7000-8000-000000000001"))
SHOP = ShopId(UUID("018f3a52-7c1e-7000-8000-000000000002"))
TENANT = TenantId(UUID("018f3a52-7c1e-7000-8000-000000000003"))
LETTER = UUID("018f3a52-7c1e-7000-8000-00000000000e")
AT = datetime(2026, 11, 23, 9, 30, 15, 123456, tzinfo=UTC)
LINES = (OrderLine(sku="BREAD-800", quantity=2), OrderLine(sku="milk.1l", quantity=1_000_000))

SAMPLES: dict[str, Message] = {
    "sagas.StepFaulted.v1": StepFaulted(error="ValueError: no such shelf", fingerprint="3b1f5e0c"),
    "sagas.SagaHalted.v1": SagaHalted(saga="place-order", version=2, state="PARKED", step="reserve-stock", fingerprint="3b1f5e0c"),
    "sagas.SagaResumed.v1": SagaResumed(saga="place-order", version=2, state="RUNNING"),
    "sagas.SagaEnded.v1": SagaEnded(saga="place-order", version=2, state="ABANDONED", why="OUT_OF_STOCK"),
    "ops.AskIfHandled.v1": AskIfHandled(letter_id=LETTER, message_id=ORDER, type="inventory.ReserveStock.v1"),
    "ops.HandlingReported.v1": HandlingReported(letter_id=LETTER, is_handled=True, build="0f3c9a1b2d4e"),
    "ops.LetterSettled.v1": LetterSettled(letter_id=LETTER, replay_id=UUID("018f3a52-7c1e-7000-8000-00000000000f"), was_known=False),
    "tenants.ReserveQuota.v1": ReserveQuota(order_id=ORDER, amount=9_007_199_254_740_991, placed_at=AT),
    "tenants.QuotaReserved.v1": QuotaReserved(),
    "tenants.QuotaExceeded.v1": QuotaExceeded(),
    "tenants.TenantSuspended.v1": TenantSuspended(),
    "tenants.ReleaseQuota.v1": ReleaseQuota(order_id=ORDER),
    "tenants.QuotaReleased.v1": QuotaReleased(),
    "tenants.ChargeOrder.v1": ChargeOrder(
        order_id=ORDER,
        total=418,
        amounts=(VatAmount(rate=VatRate.ZERO, total=298, vat=0), VatAmount(rate=VatRate.STANDARD, total=120, vat=20)),
        placed_at=AT,
    ),
    "tenants.OrderCharged.v1": OrderCharged(),
    "tenants.SpendingLimitReached.v1": SpendingLimitReached(),
    "tenants.RefundOrder.v1": RefundOrder(order_id=ORDER),
    "tenants.OrderRefunded.v1": OrderRefunded(),
    "inventory.ReserveStock.v1": ReserveStock(order_id=ORDER, shop_id=SHOP, lines=LINES),
    "inventory.StockReserved.v1": StockReserved(reservation_id=UUID("018f3a52-7c1e-7000-8000-000000000004")),
    "inventory.OutOfStock.v1": OutOfStock(),
    "inventory.ReleaseStock.v1": ReleaseStock(order_id=ORDER),
    "inventory.StockReleased.v1": StockReleased(),
    "inventory.ShopOpened.v1": ShopOpened(shop_id=SHOP, name="Café Jøtoye", accepts_by_hand=True),
    "inventory.ProductListed.v1": ProductListed(
        sku="BREAD-800",
        version=3,
        name="Brown bread, 800 g",
        price_pence=149,
        vat_rate=VatRate.ZERO,
        allergens=(Allergen.GLUTEN, Allergen.SESAME),
    ),
    "orders.OrderPlaced.v1": OrderPlaced(
        order_id=ORDER,
        shop_id=SHOP,
        lines=LINES,
        total=298,
        placed_at=AT,
        vat=(VatAmount(rate=VatRate.ZERO, total=178, vat=0), VatAmount(rate=VatRate.STANDARD, total=120, vat=20)),
        payment="tok_ok",
        accept_by_hand=True,
    ),
    "orders.ApproveOrder.v1": ApproveOrder(order_id=ORDER),
    "orders.OrderApproved.v1": OrderApproved(),
    "orders.OrderCancelled.v1": OrderCancelled(),
    "orders.RejectOrder.v1": RejectOrder(order_id=ORDER, rejection=Rejection.OUT_OF_STOCK),
    "orders.OrderRejected.v1": OrderRejected(),
    "orders.OrderCompleted.v1": OrderCompleted(order_id=ORDER),
    "orders.RequestAcceptance.v1": RequestAcceptance(order_id=ORDER),
    "orders.OrderAccepted.v1": OrderAccepted(),
    "orders.OrderDeclined.v1": OrderDeclined(),
    "orders.WithdrawAcceptance.v1": WithdrawAcceptance(order_id=ORDER),
    "orders.AcceptanceWithdrawn.v1": AcceptanceWithdrawn(),
    "orders.OrderCancelRequested.v1": OrderCancelRequested(order_id=ORDER, reason="Changed my mind – sorry", paid=True),
    "orders.MarkOrderCancelled.v1": MarkOrderCancelled(order_id=ORDER),
    "orders.OrderMarkedCancelled.v1": OrderMarkedCancelled(),
    "payments.AuthorisePayment.v1": AuthorisePayment(order_id=ORDER, amount=298, token="tok_ok"),
    "payments.PaymentAuthorised.v1": PaymentAuthorised(payment_id=UUID("018f3a52-7c1e-7000-8000-000000000005")),
    "payments.PaymentRefused.v1": PaymentRefused(code="insufficient_funds"),
    "payments.CapturePayment.v1": CapturePayment(order_id=ORDER),
    "payments.PaymentCaptured.v1": PaymentCaptured(),
    "payments.ReturnPayment.v1": ReturnPayment(order_id=ORDER),
    "payments.PaymentReturned.v1": PaymentReturned(),
}


def envelope(name: str) -> Envelope:
    """The sample of this name with every attribute that an envelope can have."""
    return Envelope(
        id=UUID("018f3a52-7c1e-7000-8000-00000000000a"),
        source=f"/{name.split('.', 1)[0]}",
        type=name,
        subject=str(ORDER),
        time=AT,
        tenantid=TENANT,
        sagaid=SagaId(UUID("018f3a52-7c1e-7000-8000-00000000000b")),
        causationid=UUID("018f3a52-7c1e-7000-8000-00000000000c"),
        commandid=UUID("018f3a52-7c1e-7000-8000-00000000000d"),
        expires=AT,
        sequence=7,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        data=SAMPLES[name],
    )
