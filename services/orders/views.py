"""An order as clients write and read it. Money in pence with VAT inside, times ISO 8601 in UTC."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict

from contracts.values import OrderLine, OrderStatus, Quantity, Rejection, ShopId, Sku, VatRate
from services.orders.model import OrderLineRow, OrderRow
from services.orders.use_cases import LINES_MAX, AskedOrder, PlacedOrder


class NewLine(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: Sku
    quantity: Annotated[Quantity, Strict()]


class NewOrder(BaseModel):
    """A repeated SKU is summed."""

    model_config = ConfigDict(extra="forbid")

    shop_id: UUID
    lines: Annotated[list[NewLine], Field(min_length=1, max_length=LINES_MAX)]

    def asked(self) -> AskedOrder:
        """The request as the use case takes it."""
        return AskedOrder(ShopId(self.shop_id), tuple(OrderLine(sku=line.sku, quantity=line.quantity) for line in self.lines))


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
    """`rejection` says why, exactly when `status` is REJECTED."""

    id: UUID
    status: OrderStatus
    rejection: Rejection | None
    total_pence: int
    vat_pence: int
    lines: list[LineView]
    created_at: datetime

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
        )


class OrderPage(BaseModel):
    items: list[OrderView]
    next: str | None = Field(description="send it as `cursor` for the following page; null on the last one")
