"""What the schema `payments` itself keeps: tenants apart, a call in doubt in sight, everybody inside their grants."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from infra.unscoped.due import DuePayments
from services.payments.model import PaymentRow
from tests.conformance.places import opened
from tests.integration.refusals import CHECK_VIOLATED, NO_RIGHT
from tests.integration.schemas import columns_of, declared_columns

_INSERT: Final = """
    INSERT INTO payments.payment (tenant_id, order_id, payment_id, wanted, actual, amount_pence, reference, refusal, calling, due_at,
        attempts, refusals, revision, created_at, changed_at)
    VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, now(), now())"""


@pytest.fixture
async def transaction(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "payments") as transactions:
        yield transactions


async def insert(
    scope: Scope,
    wanted: str = "AUTHORISED",
    actual: str = "NONE",
    *,
    amount: int | None = 1,
    reference: str | None = None,
    calling: str | None = None,
    is_due: bool = False,
) -> None:
    due_at = scope.now if is_due else None
    await scope.connection.execute(_INSERT, scope.tenant_id, uuid4(), wanted, actual, amount, reference, None, calling, due_at)


async def test_the_migrated_table_equals_its_model(transaction: Transactions) -> None:
    async with transaction(TenantId(uuid4())) as scope:
        assert await columns_of(scope, PaymentRow) == declared_columns(scope, PaymentRow)


@pytest.mark.parametrize(
    "row",
    [
        {"calling": "AUTHORISE"},
        {"amount": None},
        {"wanted": "NOTHING", "actual": "AUTHORISED", "amount": None, "reference": "x"},
        {"actual": "AUTHORISED"},
        {"actual": "REFUSED"},
        {"actual": "ELSEWHERE"},
    ],
    ids=["a call nobody looks at again", "no amount", "held, but how much", "held, but where", "refused for no reason", "no such state"],
)
async def test_a_payment_that_cannot_be_is_not_stored(transaction: Transactions, row: dict[str, object]) -> None:
    with pytest.raises(CHECK_VIOLATED):
        async with transaction(TenantId(uuid4())) as scope:
            await insert(scope, **row)  # type: ignore[arg-type]  # each case names what it changes


async def test_the_sweeper_finds_what_is_due_across_tenants_and_sees_nothing_of_it(settings: Settings, transaction: Transactions) -> None:
    tenants = [TenantId(uuid4()) for _ in range(2)]
    for tenant_id in tenants:
        async with transaction(tenant_id) as scope:
            await insert(scope, is_due=True)
            await insert(scope)
    pool = open_pool(settings, "payments", "sweeper", 1)
    try:
        found = await DuePayments("payments", pool).due(now(), 10_000)
        assert [tenant_id for tenant_id, _ in found if tenant_id in tenants].count(tenants[0]) == 1
        left_out = await DuePayments("payments", pool).due(now(), 10_000, [order_id for _, order_id in found])
        assert left_out == []
        for forbidden in ("SELECT amount_pence FROM payments.payment", "UPDATE payments.payment SET due_at = now()"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                async with pool.connect() as connection:
                    await connection.execute(text(forbidden))
    finally:
        await pool.dispose()


async def test_a_payment_is_never_deleted_nor_becomes_another_orders(transaction: Transactions) -> None:
    for statement in ("DELETE FROM payments.payment", "UPDATE payments.payment SET order_id = payment_id"):
        with pytest.raises(NO_RIGHT):
            async with transaction(TenantId(uuid4())) as scope:
                await scope.connection.execute(statement)
