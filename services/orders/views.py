"""An order as clients write and read it. Money in pence with VAT inside, times ISO 8601 in UTC."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

from contracts.values import OrderLine, OrderStatus, PaymentToken, Quantity, Rejection, ShopId, Sku, VatRate
from services.orders.acceptance import AcceptanceState
from services.orders.model import OrderLineRow, OrderRow
from services.orders.order import Order
from services.orders.use_cases import LINES_MAX, AskedOrder, PlacedOrder


class NewLine(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: Sku
    quantity: Annotated[Quantity, Strict()]


class NewPayment(BaseModel):
    """A card, by the token that the payment provider gave for it. It is never shown again."""

    model_config = ConfigDict(extra="forbid")

    token: PaymentToken = Field(repr=False, description="from the payment provider, never the card's number", examples=["tok_ok"])


class NewOrder(BaseModel):
    """A repeated SKU is summed. Without a payment the order goes on the tenant's account."""

    model_config = ConfigDict(extra="forbid")

    shop_id: UUID
    lines: Annotated[list[NewLine], Field(min_length=1, max_length=LINES_MAX)]
    payment: NewPayment | None = None

    def asked(self) -> AskedOrder:
        """The request as the use case takes it."""
        lines = tuple(OrderLine(sku=line.sku, quantity=line.quantity) for line in self.lines)
        return AskedOrder(ShopId(self.shop_id), lines, None if self.payment is None else self.payment.token)


class Cancelling(BaseModel):
    """Why the client does not want the order any more."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class LineView(BaseModel):
    """One SKU at the price of the moment it was ordered."""

    sku: str
    name: str
    quantity: int
    unit_price_pence: int
    vat_rate: VatRate
    total_pence: int
    vat_pence: int


class OrderView(BaseModel):
    """`rejection` says why, exactly when `status` is REJECTED; `cancel_reason` is the client's, from CANCELLING on."""

    id: UUID
    status: OrderStatus
    rejection: Rejection | None
    total_pence: int
    vat_pence: int
    lines: list[LineView]
    created_at: datetime
    # Answers that are remembered for an Idempotency-Key may be older than these.
    paid_by_card: bool = False
    awaiting_acceptance: bool = Field(default=False, description="somebody in the shop has to accept or decline it now")
    cancel_reason: str | None = None

    @classmethod
    def placed(cls, order: PlacedOrder) -> Self:
        """A new order, which is PENDING."""
        return cls(
            id=order.order_id,
            status=OrderStatus.PENDING,
            rejection=None,
            total_pence=order.total_pence,
            vat_pence=order.vat_pence,
            lines=[LineView.model_validate(line, from_attributes=True) for line in order.lines],
            created_at=order.placed.placed_at,
            paid_by_card=order.placed.payment is not None,
        )

    @classmethod
    def stored(cls, order: OrderRow, lines: Iterable[OrderLineRow]) -> Self:
        """An order as it is now."""
        return cls(
            id=order.order_id,
            status=OrderStatus(order.status),
            rejection=None if order.rejection is None else Rejection(order.rejection),
            total_pence=order.total_pence,
            vat_pence=order.vat_pence,
            lines=[LineView.model_validate(line, from_attributes=True) for line in lines],
            created_at=order.created_at,
            paid_by_card=order.paid_by_card,
            awaiting_acceptance=order.status == OrderStatus.PENDING and order.acceptance == AcceptanceState.WAITING,
            cancel_reason=order.cancel_reason,
        )

    def moved_to(self, order: Order) -> Self:
        """The same order where it has come to since. What was ordered never changes."""
        return self.model_copy(
            update={
                "status": order.status,
                "rejection": order.rejection,
                "awaiting_acceptance": order.awaits_acceptance,
                "cancel_reason": order.cancel_reason,
            }
        )


class OrderPage(BaseModel):
    items: list[OrderView]
    next: str | None = Field(description="send it as `cursor` for the following page; null on the last one")
