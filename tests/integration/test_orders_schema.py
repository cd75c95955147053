"""What the schema `orders` itself keeps: tenants apart, orders whole, the application inside its grants."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from contracts.values import TenantId
from infra.settings import Settings
from infra.transaction import Transactions
from services.orders.model import IdempotencyRow, OrderLineRow, OrderRow, ProductRow, ShopRow
from tests.conformance.places import opened
from tests.integration.ordering import Client, ordering
from tests.integration.refusals import CHECK_VIOLATED, KEY_MISSING, NO_RIGHT
from tests.integration.schemas import columns_of, declared_columns

ROWS: Final = (OrderRow, OrderLineRow, ShopRow, ProductRow, IdempotencyRow)


@pytest.fixture
async def transaction(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "orders") as transactions:
        yield transactions


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__tablename__)
async def test_the_migrated_table_equals_its_model(transaction: Transactions, row: type) -> None:
    async with transaction(TenantId(uuid4())) as scope:
        assert await columns_of(scope, row) == declared_columns(scope, row)


async def test_a_line_cannot_refer_to_another_tenants_order(client: Client) -> None:
    order_id = (await client.place()).json()["id"]
    insert = "INSERT INTO orders.order_line VALUES ($1, $2, 1, 'X', 'X', 1, 1, 'ZERO', 1, 0)"
    with pytest.raises(KEY_MISSING):
        async with client.transaction(TenantId(uuid4())) as scope:
            await scope.connection.execute(insert, scope.tenant_id, order_id)


async def test_no_row_can_be_written_for_another_tenant(client: Client) -> None:
    with pytest.raises(NO_RIGHT, match="row-level security"):
        async with client.transaction(TenantId(uuid4())) as scope:
            await scope.connection.execute("INSERT INTO orders.shop VALUES ($1, $2, 'x')", client.tenant_id, uuid4())


async def test_an_order_is_rejected_exactly_with_a_reason(client: Client) -> None:
    await client.place()
    for change in ("status = 'REJECTED'", "rejection = 'FAULT'", "status = 'LOST'"):
        with pytest.raises(CHECK_VIOLATED):
            async with client.transaction(client.tenant_id) as scope:
                await scope.connection.execute(f"UPDATE orders.customer_order SET {change} WHERE tenant_id = $1", scope.tenant_id)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM orders.customer_order",
        "DELETE FROM orders.order_line",
        "TRUNCATE orders.idempotency",
        "UPDATE orders.order_line SET quantity = 1",
        "UPDATE orders.customer_order SET total_pence = 0",
        "UPDATE orders.customer_order SET tenant_id = gen_random_uuid()",
        "UPDATE orders.idempotency SET answer = ''",
        "UPDATE orders.shop SET name = 'x'",
        "CREATE TABLE orders.mine (id integer)",
    ],
)
async def test_the_application_may_do_nothing_but_what_it_needs(transaction: Transactions, statement: str) -> None:
    with pytest.raises(NO_RIGHT):
        async with transaction(TenantId(uuid4())) as scope:
            await scope.connection.execute(statement)
