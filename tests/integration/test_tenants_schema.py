"""What the schema `tenants` itself keeps: tenants apart, amounts with their orders, the application inside its grants."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import pytest

from contracts.values import OrderId, TenantId
from infra.settings import Settings
from infra.transaction import Transactions
from services.tenants import repository
from services.tenants.model import QuotaHold, QuotaMonth, Tenant, TenantStatus
from tests.conformance.places import MONTH, QuotaOf, Tally, answers, new_tenant, opened
from tests.integration.refusals import CHECK_VIOLATED, NO_RIGHT
from tests.integration.schemas import columns_of, declared_columns

ROWS: Final = (Tenant, QuotaMonth, QuotaHold)


@pytest.fixture
async def transaction(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "tenants") as transactions:
        yield transactions


async def a_tenant(transaction: Transactions) -> TenantId:
    tenant_id = TenantId(uuid4())
    async with transaction(tenant_id) as scope:
        await repository.add_tenant(scope, new_tenant(scope, 10, 1000))
    return tenant_id


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__tablename__)
async def test_the_migrated_table_equals_its_model(transaction: Transactions, row: type) -> None:
    async with transaction(TenantId(uuid4())) as scope:
        assert await columns_of(scope, row) == declared_columns(scope, row)


async def test_a_scope_finds_its_own_tenant_only(transaction: Transactions) -> None:
    tenant_id = await a_tenant(transaction)
    await a_tenant(transaction)
    async with transaction(tenant_id) as scope:
        assert await scope.connection.fetchval("SELECT count(*) FROM tenants.tenant") == 1
        found = await repository.find_tenant(scope)
    assert found is not None
    assert found.tenant_id == tenant_id


async def test_no_quota_can_be_written_for_another_tenant(transaction: Transactions) -> None:
    victim = await a_tenant(transaction)
    insert = """INSERT INTO tenants.quota (tenant_id, month, orders_held, orders_settled, pence_held, pence_settled, changed_at)
                VALUES ($1, '2026-11', 1, 0, 1, 0, now())"""
    with pytest.raises(NO_RIGHT, match="row-level security"):
        async with transaction(TenantId(uuid4())) as scope:
            await scope.connection.execute(insert, victim)


async def test_an_amount_without_an_order_cannot_be_stored(transaction: Transactions) -> None:
    tenant_id = await a_tenant(transaction)
    insert = """INSERT INTO tenants.quota (tenant_id, month, orders_held, orders_settled, pence_held, pence_settled, changed_at)
                VALUES ($1, '2026-11', 0, 0, 1, 0, now())"""
    with pytest.raises(CHECK_VIOLATED, match="amounts_belong_to_orders"):
        async with transaction(tenant_id) as scope:
            await scope.connection.execute(insert, tenant_id)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tenants.tenant",
        "DELETE FROM tenants.quota_hold",
        "TRUNCATE tenants.quota",
        "UPDATE tenants.quota SET month = '2026-12'",
        "UPDATE tenants.tenant SET tenant_id = gen_random_uuid()",
        "UPDATE tenants.quota_hold SET order_id = gen_random_uuid()",
        "CREATE TABLE tenants.mine (id integer)",
    ],
)
async def test_the_application_may_do_nothing_but_what_it_needs(transaction: Transactions, statement: str) -> None:
    with pytest.raises(NO_RIGHT):
        async with transaction(TenantId(uuid4())) as scope:
            await scope.connection.execute(statement)


async def test_the_orders_of_an_unknown_tenant_are_refused_and_hold_nothing(transaction: Transactions) -> None:
    quota, nobody, order = QuotaOf(transaction), TenantId(uuid4()), OrderId(uuid4())
    [reply] = await answers(quota, nobody, [quota.ask(nobody, order)])
    assert type(reply).__name__ == "TenantSuspended"
    [reply] = await answers(quota, nobody, [quota.undo(order)])
    assert type(reply).__name__ == "QuotaReleased"


async def test_a_tenant_suspended_in_between_keeps_what_it_holds_and_gets_no_more(transaction: Transactions) -> None:
    quota, tenant_id, held, later = QuotaOf(transaction), await a_tenant(transaction), OrderId(uuid4()), OrderId(uuid4())
    async with transaction(tenant_id) as scope:
        tenant = await repository.find_tenant(scope, to_change=True)
        assert tenant is not None
        await answers(quota, tenant_id, [quota.ask(tenant_id, held)])
        tenant.become(TenantStatus.SUSPENDED, scope.now)
    [reply] = await answers(quota, tenant_id, [quota.ask(tenant_id, later)])
    assert type(reply).__name__ == "TenantSuspended"
    assert (await quota.tally(tenant_id)).held == 1
    await answers(quota, tenant_id, [quota.undo(held)])
    assert await quota.tally(tenant_id) == Tally(free=10, held=0, used=0)


async def test_a_month_without_orders_uses_nothing(transaction: Transactions) -> None:
    async with transaction(await a_tenant(transaction)) as scope:
        usage = await repository.find_usage(scope, MONTH)
    assert (usage.orders_held, usage.orders_settled, usage.pence_held, usage.pence_settled) == (0, 0, 0, 0)
