"""The values that messages are made of: ids, money, products and the reasons an order is rejected.

Every value checks itself when it is built, so a use case never sees a negative price or an unknown allergen.
"""

from enum import StrEnum
from typing import Annotated, NewType
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

TenantId = NewType("TenantId", UUID)
OrderId = NewType("OrderId", UUID)
ShopId = NewType("ShopId", UUID)
SagaId = NewType("SagaId", UUID)

PENCE_MAX = 2**53 - 1
"""Largest amount of money, in pence: the largest whole number that every JSON reader keeps exact."""
QUANTITY_MAX = 1_000_000
"""Largest number of units of one SKU, on a shelf or in an order."""

SKU_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
VISIBLE_ASCII = r"^[!-~]+$"

Sku = Annotated[str, StringConstraints(pattern=SKU_PATTERN)]
"""A stock-keeping unit: 1 to 64 letters, digits, dots, dashes and underscores, unique within a tenant."""

Pence = Annotated[int, Field(strict=True, ge=0, le=PENCE_MAX)]
"""Money in whole pence sterling."""

Quantity = Annotated[int, Field(strict=True, ge=1, le=QUANTITY_MAX)]
"""A number of units that somebody asks for."""

Available = Annotated[int, Field(strict=True, ge=0, le=QUANTITY_MAX)]
"""A number of units that may be sold."""


class VatRate(StrEnum):
    """HMRC's categories. A price includes its VAT."""

    ZERO = "ZERO"
    REDUCED = "REDUCED"
    STANDARD = "STANDARD"
    EXEMPT = "EXEMPT"

    @property
    def percent(self) -> int:
        """Whole per cent of the net price: 0, 5 or 20 (VAT Notice 700, 2026)."""
        return {"ZERO": 0, "REDUCED": 5, "STANDARD": 20, "EXEMPT": 0}[self.value]


class Allergen(StrEnum):
    """The 14 allergens that UK food law has declared (Food Information Regulations 2014), in the order of their bits."""

    CELERY = "CELERY"
    GLUTEN = "GLUTEN"
    CRUSTACEANS = "CRUSTACEANS"
    EGGS = "EGGS"
    FISH = "FISH"
    LUPIN = "LUPIN"
    MILK = "MILK"
    MOLLUSCS = "MOLLUSCS"
    MUSTARD = "MUSTARD"
    NUTS = "NUTS"
    PEANUTS = "PEANUTS"
    SESAME = "SESAME"
    SOYA = "SOYA"
    SULPHITES = "SULPHITES"

    @property
    def bit(self) -> int:
        return 1 << list(Allergen).index(self)


def _each_once(allergens: tuple[Allergen, ...]) -> tuple[Allergen, ...]:
    return tuple(allergen for allergen in Allergen if allergen in allergens)


AllergenSet = Annotated[tuple[Allergen, ...], AfterValidator(_each_once)]
"""Allergens, each once, in the order of `Allergen`."""

ALLERGEN_MASK_MAX = (1 << len(Allergen)) - 1


def mask_of(allergens: AllergenSet) -> int:
    """The set as 14 bits, the way it is stored."""
    return sum(allergen.bit for allergen in allergens)


def allergens_of(mask: int) -> AllergenSet:
    """The set that `mask_of` made the mask from; raises ValueError for bits that name no allergen."""
    if not 0 <= mask <= ALLERGEN_MASK_MAX:
        raise ValueError(f"{mask} is no mask of the {len(Allergen)} allergens")
    return tuple(allergen for allergen in Allergen if mask & allergen.bit)


class OrderLine(BaseModel):
    """So many units of one product."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: Sku
    quantity: Quantity


class VatAmount(BaseModel):
    """What an order's lines of one VAT category come to, VAT included, and the VAT in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: VatRate
    total: Pence
    vat: Pence


def _no_card_number(token: str) -> str:
    digits = [int(one) for one in token if one.isdigit()]
    looks_like_one = 13 <= len(digits) <= 19 and all(one.isdigit() or one in "-._" for one in token)
    # Luhn's check: from the right, every second digit doubled, its own digits added.
    if looks_like_one and sum(sum(divmod(one * (1 + place % 2), 10)) for place, one in enumerate(reversed(digits))) % 10 == 0:
        raise ValueError("is a card's number: send the token that the payment provider gave for it")
    return token


PaymentToken = Annotated[str, StringConstraints(pattern=VISIBLE_ASCII, max_length=200), AfterValidator(_no_card_number)]
"""What the payment provider gave the client's browser for a card; never the card's number."""


class Rejection(StrEnum):
    """Why an order was rejected."""

    OUT_OF_STOCK = "OUT_OF_STOCK"
    OVER_QUOTA = "OVER_QUOTA"
    TENANT_SUSPENDED = "TENANT_SUSPENDED"
    PAYMENT_REFUSED = "PAYMENT_REFUSED"
    NOT_ACCEPTED = "NOT_ACCEPTED"
    NO_ANSWER = "NO_ANSWER"
    FAULT = "FAULT"
    CANCELLED = "CANCELLED"


class OrderStatus(StrEnum):
    """The whole life of an order."""

    DRAFT = "DRAFT"
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    PREPARING = "PREPARING"
    READY = "READY"
    COMPLETED = "COMPLETED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
