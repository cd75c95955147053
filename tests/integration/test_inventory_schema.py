"""What the schema `inventory` itself keeps: tenants apart, stock conserved, the application inside its grants."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from contracts.values import ShopId, TenantId
from infra.settings import Settings
from infra.transaction import Transactions
from services.inventory import repository
from services.inventory.model import Product, Shop, Stock, StockHold, StockHoldLine
from tests.conformance.places import SKU, add_stock, new_product, opened
from tests.integration.refusals import CHECK_VIOLATED, NO_RIGHT
from tests.integration.schemas import columns_of, declared_columns

ROWS: Final = (Shop, Product, Stock, StockHold, StockHoldLine)


@pytest.fixture
async def transaction(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "inventory") as transactions:
        yield transactions


async def a_tenant_with_stock(transaction: Transactions) -> tuple[TenantId, ShopId]:
    tenant_id, shop_id = TenantId(uuid4()), ShopId(uuid4())
    async with transaction(tenant_id) as scope:
        await add_stock(scope, shop_id, {SKU: 10})
    return tenant_id, shop_id


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__tablename__)
async def test_the_migrated_table_equals_its_model(transaction: Transactions, row: type) -> None:
    async with transaction(TenantId(uuid4())) as scope:
        assert await columns_of(scope, row) == declared_columns(scope, row)


async def test_another_tenant_finds_nothing(transaction: Transactions) -> None:
    _, shop_id = await a_tenant_with_stock(transaction)
    async with transaction(TenantId(uuid4())) as scope:
        assert await repository.find_shop(scope, shop_id) is None
        assert await repository.find_product(scope, SKU) is None
        assert await repository.find_stock(scope, shop_id, SKU) is None
        assert await repository.list_shops(scope, None, 10) == []
        # Without our own condition on the tenant, row-level security alone hides it.
        assert await scope.connection.fetchval("SELECT count(*) FROM inventory.stock") == 0


async def test_stock_cannot_refer_to_another_tenants_shop(transaction: Transactions) -> None:
    _, foreign_shop = await a_tenant_with_stock(transaction)
    ours = TenantId(uuid4())
    async with transaction(ours) as scope:
        await repository.add_product(scope, new_product(scope, SKU))
    with pytest.raises(IntegrityError, match="foreign key"):
        async with transaction(ours) as scope:
            await repository.stock_to_change(scope, foreign_shop, SKU)


async def test_no_row_can_be_written_for_another_tenant(transaction: Transactions) -> None:
    victim, _ = await a_tenant_with_stock(transaction)
    insert = "INSERT INTO inventory.shop (tenant_id, shop_id, name, created_at) VALUES ($1, $2, 'x', now())"
    with pytest.raises(NO_RIGHT, match="row-level security"):
        async with transaction(TenantId(uuid4())) as scope:
            await scope.connection.execute(insert, victim, uuid4())


async def test_stock_that_does_not_add_up_cannot_be_stored(transaction: Transactions) -> None:
    tenant_id, _ = await a_tenant_with_stock(transaction)
    with pytest.raises(CHECK_VIOLATED, match="stock_is_conserved"):
        async with transaction(tenant_id) as scope:
            await scope.connection.execute("UPDATE inventory.stock SET held = held + 1 WHERE tenant_id = $1", tenant_id)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM inventory.stock",
        "DELETE FROM inventory.stock_hold",
        "TRUNCATE inventory.stock_hold",
        "UPDATE inventory.stock_hold_line SET quantity = 1",
        "UPDATE inventory.stock SET sku = 'OTHER'",
        "UPDATE inventory.shop SET tenant_id = gen_random_uuid()",
        "UPDATE inventory.product SET created_at = now()",
        "CREATE TABLE inventory.mine (id integer)",
    ],
)
async def test_the_application_may_do_nothing_but_what_it_needs(transaction: Transactions, statement: str) -> None:
    with pytest.raises(NO_RIGHT):
        async with transaction(TenantId(uuid4())) as scope:
            await scope.connection.execute(statement)


async def test_a_repeated_product_is_told_apart_and_changes_nothing(transaction: Transactions) -> None:
    async with transaction(TenantId(uuid4())) as scope:
        assert await repository.add_product(scope, new_product(scope, SKU))
        again = new_product(scope, SKU)
        again.name = "Something else"
        assert not await repository.add_product(scope, again)
        found = await repository.find_product(scope, SKU)
        assert found is not None
        assert found.name == new_product(scope, SKU).name
