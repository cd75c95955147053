"""What the table of the ledger itself keeps: entries are for good, their signs and VAT are right, and no order is entered twice."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from contracts.tenants import RefundOrder
from contracts.values import OrderId, TenantId
from infra.schema import ROLES
from infra.settings import Settings
from infra.transaction import Transactions
from services.tenants import repository
from services.tenants.ledger import Entry, Kind
from services.tenants.model import FinancialTransaction
from tests.conformance.places import AMOUNT, AMOUNTS, MONTH, PLACED_AT, LedgerOf, Tally, answers, opened
from tests.integration.refusals import CHECK_VIOLATED, KEY_MISSING, NO_RIGHT, NOT_UNIQUE
from tests.integration.rows import insert, rows_of
from tests.integration.schemas import columns_of, declared_columns

TABLE = "tenants.financial_transactions"
CHANGES = (f"UPDATE {TABLE} SET amount_pence = 0", f"DELETE FROM {TABLE}", f"TRUNCATE {TABLE}")


@pytest.fixture
async def transaction(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "tenants") as transactions:
        yield transactions


@pytest.fixture
async def charged(transaction: Transactions) -> tuple[TenantId, OrderId]:
    """A tenant with one charged order."""
    tenants, tenant_id, order = LedgerOf(transaction), TenantId(uuid4()), OrderId(uuid4())
    await tenants.stage(tenant_id, 2)
    await answers(tenants, tenant_id, [tenants.ask(tenant_id, order)])
    return tenant_id, order


async def test_the_migrated_table_equals_its_model(transaction: Transactions) -> None:
    async with transaction(TenantId(uuid4())) as scope:
        assert await columns_of(scope, FinancialTransaction) == declared_columns(scope, FinancialTransaction)


@pytest.mark.parametrize("statement", CHANGES)
async def test_the_application_changes_no_entry(transaction: Transactions, charged: tuple[TenantId, OrderId], statement: str) -> None:
    with pytest.raises(NO_RIGHT, match="permission denied"):
        async with transaction(charged[0]) as scope:
            await scope.connection.execute(statement)


@pytest.mark.parametrize("role", [f"tenants_{role}" for role in (*ROLES, "owner")])
@pytest.mark.parametrize("statement", CHANGES)
async def test_no_role_of_the_service_changes_an_entry_not_even_its_owner(
    administrator: asyncpg.Connection, charged: tuple[TenantId, OrderId], statement: str, role: str
) -> None:
    reason = "the ledger is for good" if role in ("tenants_owner", "tenants_migrator") else "permission denied"
    undo = administrator.transaction()
    await undo.start()
    try:
        await administrator.execute(f"SET LOCAL ROLE {role}")
        await administrator.execute(f"SET LOCAL oaas.tenant_id = '{charged[0]}'")
        with pytest.raises(NO_RIGHT, match=reason):
            await administrator.execute(statement)
    finally:
        await undo.rollback()


@pytest.mark.parametrize("statement", CHANGES)
async def test_an_administrators_slip_is_refused_as_well(administrator: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(NO_RIGHT, match="refused, enter a refund instead"):
        await administrator.execute(statement)


@pytest.mark.parametrize(
    ("wrong", "constraint"),
    [
        ({"kind": "CHARGE", "amount_pence": -1}, "kind_and_sign_agree"),
        ({"kind": "CHARGE", "vat_rate": "STANDARD", "vat_pence": 2}, "kind_and_sign_agree"),
        ({"kind": "REFUND", "amount_pence": 1}, "kind_and_sign_agree"),
        ({"kind": "REFUND", "vat_rate": "STANDARD", "amount_pence": -1, "vat_pence": -2}, "kind_and_sign_agree"),
        ({"kind": "GIFT"}, "kind_and_sign_agree"),
        ({"vat_rate": "LUXURY"}, "vat_rate"),
        ({"vat_rate": "EXEMPT", "amount_pence": 6, "vat_pence": 1}, "vat_only_where_there_is_a_rate"),
        ({"month": "2026-12"}, "month"),
        ({"reference": ""}, "reference"),
    ],
)
async def test_a_wrong_entry_cannot_be_stored(
    transaction: Transactions, charged: tuple[TenantId, OrderId], wrong: dict[str, Any], constraint: str
) -> None:
    entry = rows_of(charged[0])[TABLE] | {"month": MONTH}
    statement, values = insert(TABLE, entry | wrong)
    with pytest.raises((*CHECK_VIOLATED, *KEY_MISSING), match=constraint):
        async with transaction(charged[0]) as scope:
            await scope.connection.execute(statement, *values)


async def test_no_second_charge_of_an_order_can_be_stored_whatever_its_id(
    transaction: Transactions, charged: tuple[TenantId, OrderId]
) -> None:
    tenant_id, order = charged
    entry = rows_of(tenant_id)[TABLE] | {"order_id": order, "month": MONTH}
    statement, values = insert(TABLE, entry)
    with pytest.raises(NOT_UNIQUE, match="each_kind_and_rate_once"):
        async with transaction(tenant_id) as scope:
            await scope.connection.execute(statement, *values)


async def test_a_month_refunds_no_more_than_it_charged_and_covers_no_more_than_it_holds(
    transaction: Transactions, charged: tuple[TenantId, OrderId]
) -> None:
    for total, constraint in (("pence_refunded", "refunds_are_of_charges"), ("pence_covered", "covered_is_held_or_settled")):
        with pytest.raises(CHECK_VIOLATED, match=constraint):
            async with transaction(charged[0]) as scope:
                await scope.connection.execute(f"UPDATE tenants.quota SET {total} = $1", AMOUNT + 1)


async def test_entries_keep_rate_vat_month_reference_and_an_id_of_their_own(
    transaction: Transactions, charged: tuple[TenantId, OrderId]
) -> None:
    tenant_id, order = charged
    async with transaction(tenant_id) as scope:
        stored = await repository.list_transactions(scope, order, None, 100)
    entries = {Entry(order, Kind.CHARGE, amount.rate, amount.total, amount.vat, MONTH) for amount in AMOUNTS}
    assert {(row.id, row.vat_rate, row.amount_pence, row.vat_pence, row.month, row.reference) for row in stored} == {
        (entry.id_in(tenant_id), entry.vat_rate, entry.amount_pence, entry.vat_pence, MONTH, f"order {order}") for entry in entries
    }


async def test_an_unknown_tenant_is_charged_nothing_and_refunded_nothing(transaction: Transactions) -> None:
    tenants, nobody, order = LedgerOf(transaction), TenantId(uuid4()), OrderId(uuid4())
    replies = [*await answers(tenants, nobody, [tenants.ask(nobody, order)]), *await answers(tenants, nobody, [tenants.undo(order)])]
    assert [type(reply).__name__ for reply in replies] == ["TenantSuspended", "OrderRefunded"]


async def test_a_refund_reaches_a_charge_of_long_ago(transaction: Transactions, charged: tuple[TenantId, OrderId]) -> None:
    tenant_id, order = charged
    tenants = LedgerOf(transaction)
    # Other months and orders came since, and none of them is touched.
    later = tenants.ask(tenant_id, OrderId(uuid4())).model_copy(update={"placed_at": PLACED_AT + timedelta(days=99)})
    await answers(tenants, tenant_id, [later])
    await answers(tenants, tenant_id, [RefundOrder(order_id=order)])
    assert (await month_of_charge(transaction, tenant_id)) == (AMOUNT, AMOUNT)


async def month_of_charge(transaction: Transactions, tenant_id: TenantId) -> tuple[int, int]:
    async with transaction(tenant_id) as scope:
        usage = await repository.find_usage(scope, MONTH)
    return usage.pence_charged, usage.pence_refunded


async def test_what_the_last_release_writes_is_right_beside_the_ledger(transaction: Transactions) -> None:
    tenants, tenant_id, old = LedgerOf(transaction), TenantId(uuid4()), OrderId(uuid4())
    await tenants.stage(tenant_id, 2)
    async with transaction(tenant_id) as scope:
        # As release 1 writes them: it names none of the ledger's columns.
        await scope.connection.execute(
            """INSERT INTO tenants.quota (tenant_id, month, orders_held, orders_settled, pence_held, pence_settled, changed_at)
               VALUES ($1, $2, 1, 0, $3, 0, now())""",
            tenant_id,
            MONTH,
            AMOUNT,
        )
        await scope.connection.execute(
            """INSERT INTO tenants.quota_hold (tenant_id, order_id, step, state, month, pence, created_at, changed_at)
               VALUES ($1, $2, 'reserve-quota', 'HELD', $3, $4, now(), now())""",
            tenant_id,
            old,
            MONTH,
            AMOUNT,
        )
    replies = await answers(tenants, tenant_id, [tenants.ask(tenant_id, OrderId(uuid4())) for _ in range(2)])
    # What it holds counts against the limit: there is room for one more and not for two.
    assert [type(reply) for reply in replies] == [tenants.granted, tenants.refused]
    assert await tenants.tally(tenant_id) == Tally(free=1, held=1, used=0)
