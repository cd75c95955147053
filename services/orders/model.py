"""Rows of the schema `orders`, and what a group of events says about the catalogue. No session, no clock, no SQL.

What an order may become is in services/orders/order.py.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlmodel import Field, SQLModel

from contracts.inventory import ProductListed, ShopOpened
from contracts.values import ShopId, Sku, VatRate

SCHEMA: Final = {"schema": "orders"}
TIMESTAMP: Final = DateTime(timezone=True)


class OrderRow(SQLModel, table=True):
    """A client's order. `revision` counts its changes; `rejection` is set exactly when it is REJECTED."""

    __tablename__ = "customer_order"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    order_id: UUID = Field(primary_key=True)
    shop_id: UUID
    status: str = Field(sa_type=Text)
    rejection: str | None = Field(default=None, sa_type=Text)
    total_pence: int = Field(sa_type=BigInteger)
    vat_pence: int = Field(sa_type=BigInteger)
    revision: int = Field(default=1, sa_type=BigInteger)
    created_at: datetime = Field(sa_type=TIMESTAMP)
    changed_at: datetime = Field(sa_type=TIMESTAMP)
    paid_by_card: bool = False
    acceptance: str = Field(default="NEW", sa_type=Text)
    cancelled_from: str | None = Field(default=None, sa_type=Text)
    cancel_reason: str | None = Field(default=None, sa_type=Text)


class OrderLineRow(SQLModel, table=True):
    """One SKU of an order with the price it was sold at; `position` keeps the client's order of lines, from 0."""

    __tablename__ = "order_line"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    order_id: UUID = Field(primary_key=True)
    position: int = Field(sa_type=Integer, primary_key=True)
    sku: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    quantity: int = Field(sa_type=BigInteger)
    unit_price_pence: int = Field(sa_type=BigInteger)
    vat_rate: str = Field(sa_type=Text)
    total_pence: int = Field(sa_type=BigInteger)
    vat_pence: int = Field(sa_type=BigInteger)


class ShopRow(SQLModel, table=True):
    """A shop that takes orders, as inventory announced it. `accepts_by_hand`: somebody there accepts or declines each."""

    __tablename__ = "shop"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    shop_id: UUID = Field(primary_key=True)
    name: str = Field(sa_type=Text)
    accepts_by_hand: bool = False


class ProductRow(SQLModel, table=True):
    """A product in the newest version that inventory announced. The price includes VAT; `allergen_mask` has 14 bits."""

    __tablename__ = "product"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    sku: str = Field(sa_type=Text, primary_key=True)
    version: int = Field(sa_type=BigInteger)
    name: str = Field(sa_type=Text)
    price_pence: int = Field(sa_type=BigInteger)
    vat_rate: str = Field(sa_type=Text)
    allergen_mask: int = Field(sa_type=Integer)


class IdempotencyRow(SQLModel, table=True):
    """What a request with this Idempotency-Key asked, and the body it was answered with (status 202)."""

    __tablename__ = "idempotency"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    fingerprint: str = Field(sa_type=Text)
    order_id: UUID
    answer: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=TIMESTAMP)


@dataclass(frozen=True, slots=True)
class KnownShop:
    """What placing an order needs to know of its shop."""

    shop_id: ShopId
    accepts_by_hand: bool = False


@dataclass(frozen=True, slots=True)
class KnownProduct:
    """What placing an order needs to know of a product: as it is sold now."""

    sku: Sku
    name: str
    price_pence: int
    vat_rate: VatRate


@dataclass(slots=True)
class Catalogue:
    """What inventory told in a group of events: shops, and of each product the newest version among them."""

    shops: dict[ShopId, ShopOpened] = field(default_factory=dict)
    products: dict[Sku, ProductListed] = field(default_factory=dict)

    def add_shop(self, shop: ShopOpened) -> None:
        self.shops[shop.shop_id] = shop

    def add_product(self, product: ProductListed) -> None:
        """Events may arrive in any order: an older version never replaces a newer one."""
        known = self.products.get(product.sku)
        if known is None or known.version < product.version:
            self.products[product.sku] = product
