"""What tenants decides about charges and refunds, beside the quota that counts the same amounts."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from contracts.orders import OrderCompleted
from contracts.tenants import (
    ChargeOrder,
    OrderCharged,
    OrderRefunded,
    QuotaExceeded,
    QuotaReserved,
    RefundOrder,
    ReleaseQuota,
    ReserveQuota,
    SpendingLimitReached,
    TenantSuspended,
)
from contracts.values import OrderId, TenantId, VatAmount, VatRate
from services.tenants.ledger import AmountsDoNotAddUp, ChargeState, Entry, IllegalCharge, Kind
from services.tenants.model import Hold, Quota
from services.tenants.usage import Limits, Month, NotCharged, NotHeld, Usage
from services.tenants.use_cases import charge_order, refund_order, release_quota, reserve_quota, settle_quota

ORDER = OrderId(UUID(int=2))
OTHER = OrderId(UUID(int=3))
NOVEMBER = Month("2026-11")
DECEMBER = Month("2026-12")
PLACED_AT = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
REFUND = RefundOrder(order_id=ORDER)
RELEASE = ReleaseQuota(order_id=ORDER)


def quota(limit_pence: int = 1000, orders: int = 9) -> Quota:
    months = {month: Usage(month) for month in (NOVEMBER, DECEMBER)}
    return Quota(Limits(orders, limit_pence), months, {order: Hold(order) for order in (ORDER, OTHER)})


def charge(total: int, order_id: OrderId = ORDER, placed_at: datetime = PLACED_AT) -> ChargeOrder:
    standard = VatAmount(rate=VatRate.STANDARD, total=total // 2, vat=total // 12)
    amounts = (standard, VatAmount(rate=VatRate.EXEMPT, total=total - standard.total, vat=0))
    return ChargeOrder(order_id=order_id, total=total, amounts=amounts, placed_at=placed_at)


def reserve(amount: int, order_id: OrderId = ORDER) -> ReserveQuota:
    return ReserveQuota(order_id=order_id, amount=amount, placed_at=PLACED_AT)


def spent(of: Quota) -> int:
    return of.months[NOVEMBER].pence_spent


def test_a_charge_is_one_entry_for_each_vat_rate() -> None:
    books = quota()
    assert charge_order(charge(240), books) == OrderCharged()
    assert books.ledger.entered == [
        Entry(ORDER, Kind.CHARGE, VatRate.STANDARD, 120, 20, NOVEMBER),
        Entry(ORDER, Kind.CHARGE, VatRate.EXEMPT, 120, 0, NOVEMBER),
    ]
    assert {entry.reference for entry in books.ledger.entered} == {f"order {ORDER}"}


def test_a_refund_is_the_mirror_of_each_charge() -> None:
    books = quota()
    charge_order(charge(240), books)
    assert refund_order(REFUND, books) == OrderRefunded()
    assert books.ledger.entered[2:] == [
        Entry(ORDER, Kind.REFUND, VatRate.STANDARD, -120, -20, NOVEMBER),
        Entry(ORDER, Kind.REFUND, VatRate.EXEMPT, -120, 0, NOVEMBER),
    ]
    assert (books.months[NOVEMBER].pence_charged, books.months[NOVEMBER].pence_refunded, spent(books)) == (240, 240, 0)


def test_a_refund_counts_in_the_month_of_its_charge() -> None:
    books = quota()
    charge_order(charge(1000, ORDER), books)
    charge_order(charge(1000, OTHER, PLACED_AT + timedelta(hours=1)), books)
    refund_order(REFUND, books)
    assert [books.months[month].pence_spent for month in (NOVEMBER, DECEMBER)] == [0, 1000]


def test_the_spending_limit_may_be_reached_by_charges_and_not_passed() -> None:
    assert charge_order(charge(1001), quota()) == SpendingLimitReached()
    books = quota()
    assert charge_order(charge(600), books) == OrderCharged()
    assert charge_order(charge(401, OTHER), books) == SpendingLimitReached()
    assert charge_order(charge(400, OTHER), books) == OrderCharged()


def test_a_refused_charge_enters_nothing_and_changes_nothing_that_would_be_saved() -> None:
    books = quota()
    charge_order(charge(1001), books)
    assert books.ledger.entered == []
    assert not books.holds[ORDER].changed
    assert not books.months[NOVEMBER].changed


def test_what_is_held_and_not_charged_yet_counts_against_the_limit_of_charges_and_the_other_way_round() -> None:
    books = quota()
    reserve_quota(reserve(600, OTHER), books)
    assert charge_order(charge(401), books) == SpendingLimitReached()
    assert charge_order(charge(400), books) == OrderCharged()
    books = quota()
    charge_order(charge(600, OTHER), books)
    assert reserve_quota(reserve(401), books) == QuotaExceeded()
    assert reserve_quota(reserve(400), books) == QuotaReserved()


@pytest.mark.parametrize("hold_first", [True, False])
def test_an_orders_amount_counts_once_whichever_of_hold_and_charge_comes_first(hold_first: bool) -> None:
    books = quota()
    # Its amount is the whole limit: counted twice, the second would be refused.
    if hold_first:
        assert (reserve_quota(reserve(1000), books), charge_order(charge(1000), books)) == (QuotaReserved(), OrderCharged())
    else:
        assert (charge_order(charge(1000), books), reserve_quota(reserve(1000), books)) == (OrderCharged(), QuotaReserved())
    assert spent(books) == 1000


def test_a_charge_beyond_what_was_held_for_it_is_asked_of_the_limit() -> None:
    books = quota()
    reserve_quota(reserve(900), books)
    assert charge_order(charge(1001), books) == SpendingLimitReached()
    assert charge_order(charge(1000), books) == OrderCharged()
    assert spent(books) == 1000


def test_a_charged_order_needs_its_place_among_the_months_orders() -> None:
    books = quota(orders=0)
    assert charge_order(charge(100), books) == OrderCharged()
    assert reserve_quota(reserve(100), books) == QuotaExceeded()


def test_undone_in_any_order_nothing_is_spent() -> None:
    for undo in ((RELEASE, REFUND), (REFUND, RELEASE)):
        books = quota()
        reserve_quota(reserve(300), books)
        charge_order(charge(300), books)
        for command in undo:
            release_quota(command, books) if isinstance(command, ReleaseQuota) else refund_order(command, books)
        usage = books.months[NOVEMBER]
        assert (usage.pence_spent, usage.pence_held, usage.pence_covered, usage.orders_held) == (0, 0, 0, 0)


def test_a_released_place_leaves_the_charge_until_it_is_refunded() -> None:
    books = quota()
    reserve_quota(reserve(300), books)
    charge_order(charge(300), books)
    release_quota(RELEASE, books)
    assert spent(books) == 300
    refund_order(REFUND, books)
    assert spent(books) == 0


def test_a_hold_whose_order_was_refunded_costs_nothing() -> None:
    books = quota()
    reserve_quota(reserve(1000), books)
    refund_order(REFUND, books)
    assert spent(books) == 0
    books = quota()
    refund_order(REFUND, books)
    assert reserve_quota(reserve(5000), books) == QuotaReserved()
    assert spent(books) == 0


def test_a_refund_that_overtook_its_charge_wins_and_enters_nothing() -> None:
    books = quota()
    assert refund_order(REFUND, books) == OrderRefunded()
    assert charge_order(charge(1), books) == SpendingLimitReached()
    assert books.ledger.entered == []


def test_charged_twice_and_refunded_twice_it_is_entered_once() -> None:
    books = quota()
    assert [charge_order(charge(100), books) for _ in range(2)] == [OrderCharged()] * 2
    assert [refund_order(REFUND, books) for _ in range(2)] == [OrderRefunded()] * 2
    assert [entry.kind for entry in books.ledger.entered] == [Kind.CHARGE, Kind.CHARGE, Kind.REFUND, Kind.REFUND]
    assert charge_order(charge(100), books) == SpendingLimitReached()


def test_a_suspended_tenant_is_charged_nothing_new_and_can_be_refunded() -> None:
    books = quota()
    charge_order(charge(100), books)
    books.limits = None
    assert charge_order(charge(100, OTHER), books) == TenantSuspended()
    assert charge_order(charge(100), books) == OrderCharged()
    assert refund_order(REFUND, books) == OrderRefunded()
    assert spent(books) == 0


def test_an_order_is_settled_with_a_charge_and_without_one() -> None:
    books = quota()
    for order in (ORDER, OTHER):
        reserve_quota(reserve(300, order), books)
    charge_order(charge(300), books)
    for order in (ORDER, OTHER):
        settle_quota(OrderCompleted(order_id=order), books)
    usage = books.months[NOVEMBER]
    assert (usage.orders_settled, usage.pence_settled, usage.pence_covered, usage.pence_spent) == (2, 600, 300, 600)
    # A completed order can still be refunded, and then it costs nothing.
    refund_order(REFUND, books)
    assert spent(books) == 300


@pytest.mark.parametrize(
    "amounts",
    [
        (VatAmount(rate=VatRate.ZERO, total=99, vat=0),),
        (VatAmount(rate=VatRate.ZERO, total=50, vat=0), VatAmount(rate=VatRate.ZERO, total=50, vat=0)),
    ],
)
def test_amounts_that_are_not_the_total_or_name_a_rate_twice_are_a_fault(amounts: tuple[VatAmount, ...]) -> None:
    books = quota()
    with pytest.raises(AmountsDoNotAddUp, match="not its total of 100 pence"):
        charge_order(ChargeOrder(order_id=ORDER, total=100, amounts=amounts, placed_at=PLACED_AT), books)
    assert books.holds[ORDER] == Hold(ORDER)


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (ChargeState.NEW, ChargeState.NEW),
        (ChargeState.CHARGED, ChargeState.NEW),
        (ChargeState.CHARGED, ChargeState.CHARGED),
        (ChargeState.REFUNDED, ChargeState.CHARGED),
        (ChargeState.REFUNDED, ChargeState.REFUNDED),
    ],
)
def test_a_charge_takes_no_step_that_its_life_does_not_have(state: ChargeState, wanted: ChargeState) -> None:
    with pytest.raises(IllegalCharge, match=f"is {state} and cannot become {wanted}"):
        Hold(ORDER, charge=state).charge_becomes(wanted)


def test_no_more_is_refunded_than_was_charged_or_covered_than_is_held() -> None:
    usage = Usage(NOVEMBER, orders_held=1, pence_held=100, pence_charged=100)
    with pytest.raises(NotCharged, match="101 pence cannot be refunded"):
        usage.refund(101)
    with pytest.raises(NotHeld):
        usage.cover(101)
    assert not usage.changed


def test_an_entrys_id_follows_from_tenant_order_kind_and_rate() -> None:
    first, second = TenantId(uuid4()), TenantId(uuid4())
    entry = Entry(ORDER, Kind.CHARGE, VatRate.ZERO, 1, 0, NOVEMBER)
    others = (
        entry.refund(),
        Entry(OTHER, Kind.CHARGE, VatRate.ZERO, 1, 0, NOVEMBER),
        Entry(ORDER, Kind.CHARGE, VatRate.EXEMPT, 1, 0, NOVEMBER),
    )
    assert len({entry.id_in(first), entry.id_in(second), *(other.id_in(first) for other in others)}) == 5
    assert entry.id_in(first) == Entry(ORDER, Kind.CHARGE, VatRate.ZERO, 2, 0, DECEMBER).id_in(first)
