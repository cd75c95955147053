"""Rows of the schema `inventory`, and the shelf that a group of commands decides on. No session, no clock, no SQL.

A hold is what one order took from the shelf, or the note that it may take nothing any more:

    NEW -> HELD -> CONSUMED      the order was completed
     |      |
     +------+----> WITHDRAWN     the order was undone, perhaps before it was asked for
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, Text
from sqlmodel import Field, SQLModel

from contracts.values import AllergenSet, OrderId, OrderLine, ShopId, Sku, TenantId, mask_of

SCHEMA: Final = {"schema": "inventory"}
TIMESTAMP: Final = DateTime(timezone=True)


class Shop(SQLModel, table=True):
    """A place that sells. `accepts_by_hand`: somebody there accepts or declines each order."""

    __tablename__ = "shop"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    shop_id: UUID = Field(primary_key=True)
    name: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=TIMESTAMP)
    accepts_by_hand: bool = False


class Product(SQLModel, table=True):
    """What can be sold. `version` counts the changes of the SKU; the price includes VAT; `allergen_mask` has 14 bits."""

    __tablename__ = "product"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    sku: str = Field(sa_type=Text, primary_key=True)
    version: int = Field(default=1, sa_type=BigInteger)
    name: str = Field(sa_type=Text)
    price_pence: int = Field(sa_type=BigInteger)
    vat_rate: str = Field(sa_type=Text)
    allergen_mask: int = Field(sa_type=Integer)
    ingredients: list[str] = Field(sa_type=ARRAY(Text))
    created_at: datetime = Field(sa_type=TIMESTAMP)
    changed_at: datetime = Field(sa_type=TIMESTAMP)

    def relist(
        self, *, name: str, price_pence: int, vat_rate: str, allergens: AllergenSet, ingredients: Iterable[str], now: datetime
    ) -> None:
        """Replace every detail: the SKU's next version."""
        self.version += 1
        self.name, self.price_pence, self.vat_rate = name, price_pence, vat_rate
        self.allergen_mask, self.ingredients = mask_of(allergens), list(ingredients)
        self.changed_at = now


class Stock(SQLModel, table=True):
    """Units of one SKU in one shop. The table checks available + held + consumed = received."""

    __tablename__ = "stock"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    shop_id: UUID = Field(primary_key=True)
    sku: str = Field(sa_type=Text, primary_key=True)
    available: int = Field(default=0, sa_type=BigInteger)
    held: int = Field(default=0, sa_type=BigInteger)
    consumed: int = Field(default=0, sa_type=BigInteger)
    received: int = Field(default=0, sa_type=BigInteger)
    changed_at: datetime = Field(sa_type=TIMESTAMP)

    def count(self, available: int, now: datetime) -> None:
        """So many units may be sold from now on; what orders hold stays theirs."""
        self.received += available - self.available
        self.available = available
        self.changed_at = now


class StockHold(SQLModel, table=True):
    """What one order took, and its tombstone: one row, so that a concurrent ask and undo meet on its lock."""

    __tablename__ = "stock_hold"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    order_id: UUID = Field(primary_key=True)
    step: str = Field(sa_type=Text, primary_key=True)
    state: str = Field(sa_type=Text)
    shop_id: UUID | None = None
    reservation_id: UUID | None = None
    created_at: datetime = Field(sa_type=TIMESTAMP)
    changed_at: datetime = Field(sa_type=TIMESTAMP)


class StockHoldLine(SQLModel, table=True):
    """So many units of one SKU that a hold took."""

    __tablename__ = "stock_hold_line"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    order_id: UUID = Field(primary_key=True)
    step: str = Field(sa_type=Text, primary_key=True)
    sku: str = Field(sa_type=Text, primary_key=True)
    quantity: int = Field(sa_type=BigInteger)


class HoldState(StrEnum):
    """The life of a hold. NEW holds nothing: the order was never covered."""

    NEW = "NEW"
    HELD = "HELD"
    WITHDRAWN = "WITHDRAWN"
    CONSUMED = "CONSUMED"


class IllegalHold(Exception):
    """A hold cannot become that any more."""

    def __init__(self, order_id: OrderId, state: HoldState, wanted: HoldState) -> None:
        super().__init__(f"the hold of order {order_id} is {state} and cannot become {wanted}")
        self.order_id = order_id
        self.state = state
        self.wanted = wanted


class NotOnTheShelf(Exception):
    """More units were moved than there are."""

    def __init__(self, level: "Level", quantity: int) -> None:
        super().__init__(f"{quantity} units of {level.sku} cannot be moved: {level}")
        self.level = level
        self.quantity = quantity


_NEXT: Final[Mapping[HoldState, tuple[HoldState, ...]]] = {
    HoldState.NEW: (HoldState.HELD, HoldState.WITHDRAWN),
    HoldState.HELD: (HoldState.WITHDRAWN, HoldState.CONSUMED),
    HoldState.WITHDRAWN: (),
    HoldState.CONSUMED: (),
}


@dataclass(slots=True)
class Level:
    """Units of one SKU in one shop, as a group of commands sees and moves them."""

    shop_id: ShopId
    sku: Sku
    available: int
    held: int
    consumed: int
    changed: bool = False

    def hold(self, quantity: int) -> None:
        self._move(available=-quantity, held=quantity)

    def release(self, quantity: int) -> None:
        self._move(held=-quantity, available=quantity)

    def consume(self, quantity: int) -> None:
        self._move(held=-quantity, consumed=quantity)

    def _move(self, *, available: int = 0, held: int = 0, consumed: int = 0) -> None:
        if self.available + available < 0 or self.held + held < 0:
            raise NotOnTheShelf(self, abs(held))
        self.available += available
        self.held += held
        self.consumed += consumed
        self.changed = True


@dataclass(slots=True)
class Hold:
    """What one order took: units by SKU of one shop."""

    order_id: OrderId
    state: HoldState = HoldState.NEW
    shop_id: ShopId | None = None
    reservation_id: UUID | None = None
    quantities: Mapping[Sku, int] = field(default_factory=dict)
    changed: bool = False
    taken: bool = False
    """The quantities were taken in this group, so they are not stored yet."""

    def take(self, shop_id: ShopId, reservation_id: UUID, quantities: Mapping[Sku, int]) -> None:
        self.become(HoldState.HELD)
        self.shop_id, self.reservation_id, self.quantities = shop_id, reservation_id, quantities
        self.taken = True

    def become(self, wanted: HoldState) -> None:
        """Raises IllegalHold for a step that the life of a hold does not have."""
        if wanted not in _NEXT[self.state]:
            raise IllegalHold(self.order_id, self.state, wanted)
        self.state = wanted
        self.changed = True


@dataclass(slots=True)
class Shelf:
    """One tenant's stock levels and holds that a group of commands is about; each command sees what those before it did."""

    tenant_id: TenantId
    levels: dict[tuple[ShopId, Sku], Level]
    holds: dict[OrderId, Hold]

    def is_withdrawn(self, order_id: OrderId) -> bool:
        return self.holds[order_id].state is HoldState.WITHDRAWN

    def reservation_of(self, order_id: OrderId) -> UUID | None:
        """The reservation that the order was once answered with, unless it was withdrawn."""
        return None if self.is_withdrawn(order_id) else self.holds[order_id].reservation_id

    def covers(self, shop_id: ShopId, lines: Iterable[OrderLine]) -> bool:
        """There is enough of every SKU; of an unknown one there is nothing."""
        return all(
            (level := self.levels.get((shop_id, sku))) is not None and level.available >= quantity
            for sku, quantity in _summed(lines).items()
        )

    def hold(self, order_id: OrderId, shop_id: ShopId, lines: Iterable[OrderLine]) -> UUID:
        """Move every line from available to held; the reservation's id follows from tenant and order."""
        quantities = _summed(lines)
        for sku, quantity in quantities.items():
            self.levels[shop_id, sku].hold(quantity)
        reservation_id = uuid5(self.tenant_id, str(order_id))
        self.holds[order_id].take(shop_id, reservation_id, quantities)
        return reservation_id

    def withdraw(self, order_id: OrderId) -> None:
        """Give back what is held, and let nothing be held later. Again changes nothing; raises IllegalHold for consumed goods."""
        hold = self.holds[order_id]
        if hold.state is HoldState.WITHDRAWN:
            return
        if hold.state is HoldState.HELD:
            for level, quantity in self._held(hold):
                level.release(quantity)
        hold.become(HoldState.WITHDRAWN)

    def consume(self, order_id: OrderId) -> None:
        """What is held has left the shop. An order that holds nothing changes nothing."""
        hold = self.holds.get(order_id)
        if hold is None or hold.state is not HoldState.HELD:
            return
        for level, quantity in self._held(hold):
            level.consume(quantity)
        hold.become(HoldState.CONSUMED)

    def _held(self, hold: Hold) -> list[tuple[Level, int]]:
        assert hold.shop_id is not None, f"order {hold.order_id} holds units of no shop"
        return [(self.levels[hold.shop_id, sku], quantity) for sku, quantity in hold.quantities.items()]


def _summed(lines: Iterable[OrderLine]) -> Counter[Sku]:
    quantities: Counter[Sku] = Counter()
    for line in lines:
        quantities[line.sku] += line.quantity
    return quantities
