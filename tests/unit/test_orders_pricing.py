"""Money of an order: to the penny, in whole numbers."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.values import PENCE_MAX, QUANTITY_MAX, VatRate
from services.orders.pricing import PricedLine, vat_included

PENCE = st.integers(0, PENCE_MAX)
RATES = st.sampled_from(VatRate)


@pytest.mark.parametrize(
    ("total_pence", "percent", "vat_pence"),
    [(120, 20, 20), (100, 20, 17), (105, 5, 5), (0, 20, 0), (1, 20, 0), (3, 20, 1), (9, 20, 2), (250, 0, 0), (11, 5, 1), (10, 5, 0)],
)
def test_a_price_includes_its_vat(total_pence: int, percent: int, vat_pence: int) -> None:
    assert vat_included(total_pence, percent) == vat_pence


def test_exactly_half_a_penny_is_rounded_up() -> None:
    # 3 pence with 20 % inside hold 0.5 pence of VAT.
    assert Decimal(3) * 20 / 120 == Decimal("0.5")
    assert vat_included(3, 20) == 1


@given(PENCE, RATES)
def test_vat_is_what_exact_arithmetic_rounded_half_up_gives(total_pence: int, rate: VatRate) -> None:
    quotient, rest = divmod(total_pence * rate.percent, 100 + rate.percent)
    exact = quotient + (Decimal(rest) / (100 + rate.percent)).quantize(Decimal(1), ROUND_HALF_UP)
    assert vat_included(total_pence, rate.percent) == exact


@given(PENCE, RATES)
def test_net_and_vat_are_the_total_and_vat_is_within_half_a_penny(total_pence: int, rate: VatRate) -> None:
    vat_pence = vat_included(total_pence, rate.percent)
    assert 0 <= vat_pence <= total_pence
    assert abs(vat_pence * (100 + rate.percent) - total_pence * rate.percent) * 2 <= 100 + rate.percent


@given(PENCE, PENCE, RATES)
def test_a_larger_total_never_holds_less_vat(one: int, other: int, rate: VatRate) -> None:
    smaller, larger = sorted((one, other))
    assert vat_included(smaller, rate.percent) <= vat_included(larger, rate.percent)


@given(st.integers(1, QUANTITY_MAX), st.integers(0, 10**9), RATES)
def test_a_lines_vat_is_rounded_once_on_its_total(quantity: int, unit_price_pence: int, rate: VatRate) -> None:
    line = PricedLine.of("APPLE", "Apple", quantity, unit_price_pence, rate)
    assert line.total_pence == quantity * unit_price_pence
    assert line.vat_pence == vat_included(line.total_pence, rate.percent)
