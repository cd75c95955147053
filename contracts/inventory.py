"""What `inventory` understands and answers, and what it tells about shops and products."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from contracts.messages import Command, Event, Refusal, Reply
from contracts.values import AllergenSet, OrderId, OrderLine, Pence, ShopId, Sku, VatRate

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Ingredients = Annotated[tuple[Name, ...], Field(max_length=100)]


class StockReserved(Reply):
    """Every line of the order is held."""

    reservation_id: UUID


class OutOfStock(Refusal):
    """A line cannot be covered, or the order was withdrawn before it was asked for; nothing is held."""


class StockReleased(Reply):
    """Nothing is held for the order, and nothing will be: a later `ReserveStock` for it is refused."""


class ReserveStock(Command[StockReserved | OutOfStock]):
    """Hold every line of the order in one shop, or none of them. A SKU appears once."""

    order_id: OrderId
    shop_id: ShopId
    lines: tuple[OrderLine, ...] = Field(min_length=1)


class ReleaseStock(Command[StockReleased]):
    """Undo `ReserveStock`, also one that has not arrived yet."""

    order_id: OrderId


class ShopOpened(Event):
    """A shop takes orders from now on."""

    shop_id: ShopId
    name: Name
    accepts_by_hand: bool = Field(default=False, description="somebody in the shop accepts or declines each order")


class ProductListed(Event):
    """A product as it is sold from now on. `version` counts the changes of the SKU; an older one is stale."""

    sku: Sku
    version: int = Field(ge=1)
    name: Name
    price_pence: Pence
    vat_rate: VatRate
    allergens: AllergenSet = ()
