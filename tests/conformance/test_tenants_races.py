"""Quota and ledger meet: two workers about one order's amount, or about the last pence of a month."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from contracts.messages import Message
from contracts.tenants import OrderCharged, QuotaExceeded, QuotaReserved, RefundOrder, ReleaseQuota, ReserveQuota, SpendingLimitReached
from contracts.values import OrderId, TenantId
from infra.settings import Settings
from services.tenants import repository
from tests.conformance.places import AMOUNT, MONTH, PLACED_AT, LedgerOf, answers, new_tenant, opened
from tests.conformance.racing import race

ORDER = OrderId(uuid4())


@pytest.fixture
async def tenants(settings: Settings) -> AsyncIterator[LedgerOf]:
    async with opened(settings, "tenants") as transaction:
        yield LedgerOf(transaction)


@pytest.fixture
async def tenant_id(tenants: LedgerOf) -> TenantId:
    """A tenant with room for the amount of one order, and for many orders."""
    tenant_id = TenantId(uuid4())
    async with tenants.enter(tenant_id) as scope:
        await repository.add_tenant(scope, new_tenant(scope, 100, AMOUNT))
    return tenant_id


def reserve(order_id: OrderId) -> Message:
    return ReserveQuota(order_id=order_id, amount=AMOUNT, placed_at=PLACED_AT)


async def spent(tenants: LedgerOf, tenant_id: TenantId) -> int:
    async with tenants.enter(tenant_id) as scope:
        usage = await repository.find_usage(scope, MONTH)
    return usage.pence_charged - usage.pence_refunded + usage.pence_held + usage.pence_settled - usage.pence_covered


@pytest.mark.parametrize("hold_first", [True, False])
async def test_an_orders_hold_and_its_charge_at_the_same_time_count_its_amount_once(
    tenants: LedgerOf, tenant_id: TenantId, hold_first: bool
) -> None:
    asks = [reserve(ORDER), tenants.ask(tenant_id, ORDER)][:: 1 if hold_first else -1]
    assert set(map(type, await race(tenants, tenant_id, *asks))) == {QuotaReserved, OrderCharged}
    assert await spent(tenants, tenant_id) == AMOUNT


@pytest.mark.parametrize("hold_first", [True, False])
async def test_of_a_hold_and_a_charge_of_different_orders_the_second_finds_the_limit_used(
    tenants: LedgerOf, tenant_id: TenantId, hold_first: bool
) -> None:
    # The month is there and free, so that what they wait for is its lock and not its insertion.
    await answers(tenants, tenant_id, [reserve(ORDER), ReleaseQuota(order_id=ORDER)])
    asks = [reserve(OrderId(uuid4())), tenants.ask(tenant_id, OrderId(uuid4()))][:: 1 if hold_first else -1]
    _, second = await race(tenants, tenant_id, *asks)
    assert isinstance(second, SpendingLimitReached if hold_first else QuotaExceeded)
    assert await spent(tenants, tenant_id) == AMOUNT


async def test_a_release_and_a_refund_of_one_order_at_the_same_time_give_its_amount_back_once(
    tenants: LedgerOf, tenant_id: TenantId
) -> None:
    await answers(tenants, tenant_id, [reserve(ORDER), tenants.ask(tenant_id, ORDER)])
    await race(tenants, tenant_id, ReleaseQuota(order_id=ORDER), RefundOrder(order_id=ORDER))
    assert await spent(tenants, tenant_id) == 0


async def test_two_refunds_of_one_order_at_the_same_time_enter_one(tenants: LedgerOf, tenant_id: TenantId) -> None:
    await answers(tenants, tenant_id, [tenants.ask(tenant_id, ORDER)])
    await race(tenants, tenant_id, RefundOrder(order_id=ORDER), RefundOrder(order_id=ORDER))
    async with tenants.enter(tenant_id) as scope:
        entries = await repository.list_transactions(scope, ORDER, None, 100)
    assert sorted(entry.amount_pence for entry in entries) == [-130, -120, 120, 130]
