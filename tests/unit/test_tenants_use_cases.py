"""What tenants decides, on a quota that is built by hand."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest

from contracts.orders import OrderCompleted
from contracts.tenants import QuotaExceeded, QuotaReleased, QuotaReserved, ReleaseQuota, ReserveQuota, TenantSuspended
from contracts.values import OrderId
from services.tenants.model import Hold, HoldState, IllegalHold, Quota, Tenant, TenantStatus
from services.tenants.usage import Limits, Month, NotHeld, Usage, month_of
from services.tenants.use_cases import release_quota, reserve_quota, settle_quota

ORDER = OrderId(UUID(int=2))
NOVEMBER = Month("2026-11")
DECEMBER = Month("2026-12")
PLACED_AT = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)


def quota(limits: Limits | None = Limits(2, 1000), orders: tuple[OrderId, ...] = (ORDER,)) -> Quota:  # noqa: B008 - frozen
    return Quota(limits, {month: Usage(month) for month in (NOVEMBER, DECEMBER)}, {order: Hold(order) for order in orders})


def reserve(amount: int, order_id: OrderId = ORDER, placed_at: datetime = PLACED_AT) -> ReserveQuota:
    return ReserveQuota(order_id=order_id, amount=amount, placed_at=placed_at)


def used(of: Quota, month: Month = NOVEMBER) -> tuple[int, int, int, int]:
    usage = of.months[month]
    return usage.orders_held, usage.pence_held, usage.orders_settled, usage.pence_settled


def test_holds_a_place_and_its_amount() -> None:
    limits = quota()
    assert reserve_quota(reserve(400), limits) == QuotaReserved()
    assert used(limits) == (1, 400, 0, 0)


def test_the_spending_limit_may_be_reached_and_not_passed() -> None:
    assert reserve_quota(reserve(1000), quota()) == QuotaReserved()
    assert reserve_quota(reserve(1001), quota()) == QuotaExceeded()


def test_the_number_of_orders_may_be_reached_and_not_passed() -> None:
    orders = tuple(OrderId(uuid4()) for _ in range(3))
    limits = quota(orders=orders)
    assert [reserve_quota(reserve(1, order), limits) for order in orders] == [QuotaReserved(), QuotaReserved(), QuotaExceeded()]


def test_settled_orders_count_in_the_month_as_well() -> None:
    orders = tuple(OrderId(uuid4()) for _ in range(2))
    limits = quota(orders=orders)
    reserve_quota(reserve(700, orders[0]), limits)
    settle_quota(OrderCompleted(order_id=orders[0]), limits)
    assert used(limits) == (0, 0, 1, 700)
    assert reserve_quota(reserve(301, orders[1]), limits) == QuotaExceeded()
    assert reserve_quota(reserve(300, orders[1]), limits) == QuotaReserved()


def test_an_order_counts_in_the_month_in_which_it_was_placed() -> None:
    orders = (OrderId(uuid4()), OrderId(uuid4()))
    limits = quota(orders=orders)
    reserve_quota(reserve(1000, orders[0]), limits)
    assert reserve_quota(reserve(1000, orders[1], PLACED_AT + timedelta(minutes=30)), limits) == QuotaReserved()
    assert (used(limits, NOVEMBER), used(limits, DECEMBER)) == ((1, 1000, 0, 0), (1, 1000, 0, 0))


def test_a_month_is_counted_in_utc() -> None:
    summer_in_auckland = timezone(timedelta(hours=13))
    assert month_of(datetime(2026, 12, 1, 9, tzinfo=summer_in_auckland)) == "2026-11"


def test_a_time_without_its_zone_has_no_month() -> None:
    with pytest.raises(ValueError, match="names no time zone"):
        month_of(PLACED_AT.replace(tzinfo=None))


def test_the_orders_of_a_suspended_tenant_are_refused() -> None:
    assert reserve_quota(reserve(1), quota(limits=None)) == TenantSuspended()


def test_a_suspended_tenant_keeps_the_places_it_has_and_may_give_them_back() -> None:
    limits = quota()
    reserve_quota(reserve(400), limits)
    limits.limits = None
    assert reserve_quota(reserve(400), limits) == QuotaReserved()
    assert release_quota(ReleaseQuota(order_id=ORDER), limits) == QuotaReleased()
    assert used(limits) == (0, 0, 0, 0)


def test_a_release_that_overtook_its_reserve_wins() -> None:
    limits = quota()
    assert release_quota(ReleaseQuota(order_id=ORDER), limits) == QuotaReleased()
    assert reserve_quota(reserve(1), limits) == QuotaExceeded()


def test_a_refused_order_changes_nothing_that_would_be_saved() -> None:
    limits = quota()
    reserve_quota(reserve(1001), limits)
    assert not limits.holds[ORDER].changed
    assert not limits.months[NOVEMBER].changed


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (HoldState.NEW, HoldState.SETTLED),
        (HoldState.HELD, HoldState.HELD),
        (HoldState.HELD, HoldState.NEW),
        (HoldState.WITHDRAWN, HoldState.HELD),
        (HoldState.WITHDRAWN, HoldState.SETTLED),
        (HoldState.SETTLED, HoldState.WITHDRAWN),
        (HoldState.SETTLED, HoldState.HELD),
    ],
)
def test_a_hold_takes_no_step_that_its_life_does_not_have(state: HoldState, wanted: HoldState) -> None:
    with pytest.raises(IllegalHold, match=f"is {state} and cannot become {wanted}"):
        Hold(ORDER, state).become(wanted)


def test_no_more_is_given_back_or_settled_than_is_held() -> None:
    usage = Usage(NOVEMBER, orders_held=1, pence_held=100)
    with pytest.raises(NotHeld):
        usage.release(101)
    with pytest.raises(NotHeld):
        usage.settle(101)
    assert not usage.changed


def test_a_tenant_suspended_again_is_not_changed_again() -> None:
    tenant = Tenant(tenant_id=uuid4(), name="T", orders_per_month=1, spending_limit_pence=1, created_at=PLACED_AT, changed_at=PLACED_AT)
    first, second = PLACED_AT + timedelta(hours=1), PLACED_AT + timedelta(hours=2)
    tenant.become(TenantStatus.SUSPENDED, first)
    tenant.become(TenantStatus.SUSPENDED, second)
    assert (tenant.status, tenant.changed_at) == ("SUSPENDED", first)
    tenant.become(TenantStatus.ACTIVE, second)
    assert (tenant.status, tenant.changed_at) == ("ACTIVE", second)
