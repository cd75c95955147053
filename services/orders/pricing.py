"""Money of an order, in whole pence. Prices include VAT; nothing here is ever a fraction."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from contracts.values import Sku, VatAmount, VatRate


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


def vat_amounts(lines: Iterable[PricedLine]) -> tuple[VatAmount, ...]:
    """What the lines of each VAT rate come to, each rate once; VAT is rounded per line, as on the receipt, and only then added up."""
    totals: dict[VatRate, tuple[int, int]] = {}
    for line in lines:
        total_pence, vat_pence = totals.get(line.vat_rate, (0, 0))
        totals[line.vat_rate] = total_pence + line.total_pence, vat_pence + line.vat_pence
    return tuple(VatAmount(rate=rate, total=totals[rate][0], vat=totals[rate][1]) for rate in VatRate if rate in totals)
