"""Money of an order, in whole pence. Prices include VAT; nothing here is ever a fraction."""

from dataclasses import dataclass
from typing import Self

from contracts.values import Sku, VatRate


def vat_included(total_pence: int, percent: int) -> int:
    """The VAT inside a total that includes it: total * percent / (100 + percent), rounded half up. `total_pence` >= 0."""
    # floor(x + 1/2) over the common denominator 2 * (100 + percent).
    return (2 * total_pence * percent + 100 + percent) // (2 * (100 + percent))


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One SKU of an order as it was sold: name, price and VAT rate of that moment."""

    sku: Sku
    name: str
    quantity: int
    unit_price_pence: int
    vat_rate: VatRate
    total_pence: int
    vat_pence: int

    @classmethod
    def of(cls, sku: Sku, name: str, quantity: int, unit_price_pence: int, vat_rate: VatRate) -> Self:
        """The line with its total and the VAT in it."""
        total_pence = quantity * unit_price_pence
        return cls(sku, name, quantity, unit_price_pence, vat_rate, total_pence, vat_included(total_pence, vat_rate.percent))
