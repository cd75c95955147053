"""The tenants that the benchmark's orders are of, with shops, products, stock and quota; and what is in their books afterwards."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

import asyncpg

from contracts.values import ShopId, Sku, TenantId
from tests.bench.workload import QUOTA_PENCE, TOO_MUCH_PENCE, UNIT_PENCE, UNITS_RECEIVED, EndState, Work, Workload

_NAMESPACE: Final = UUID("9d2f0f0e-1c1b-4f7e-9f57-0f8f0b1a5c11")
_AMPLE: Final = 1_000_000_000
_LUXURY: Final = "PALACE"
_SHOP: Final = "INSERT INTO {schema}.shop (tenant_id, shop_id, name{at}) SELECT tenant, shop, 'Shop'{now} FROM bench_tenant"
_PRODUCT: Final = """
    INSERT INTO {schema}.product (tenant_id, sku, version, name, price_pence, vat_rate, allergen_mask{more})
    SELECT tenant, 'SKU-' || n, 1, 'Product', {pence}, 'ZERO', 0{given} FROM bench_tenant, generate_series(0, {skus} - 1) AS n"""
_FILL: Final = (
    "CREATE TEMPORARY TABLE bench_tenant AS SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS given (tenant, shop)",
    "INSERT INTO tenants.tenant (tenant_id, name, status, orders_per_month, spending_limit_pence, created_at, changed_at)"
    f" SELECT tenant, 'Retailer', 'ACTIVE', {_AMPLE}, {QUOTA_PENCE}, now(), now() FROM bench_tenant",
    _SHOP.format(schema="inventory", at=", created_at", now=", now()"),
    _SHOP.format(schema="orders", at="", now=""),
    _PRODUCT.format(
        schema="inventory",
        more=", ingredients, created_at, changed_at",
        given=", '{{}}', now(), now()",
        pence=UNIT_PENCE,
        skus="{skus}",
    ),
    _PRODUCT.format(schema="orders", more="", given="", pence=UNIT_PENCE, skus="{skus}"),
    "INSERT INTO inventory.stock (tenant_id, shop_id, sku, available, held, consumed, received, changed_at)"
    f" SELECT tenant, shop, 'SKU-' || n, {UNITS_RECEIVED}, 0, 0, {UNITS_RECEIVED}, now()"
    " FROM bench_tenant, generate_series(0, {skus} - 1) AS n",
    "INSERT INTO inventory.product"
    " (tenant_id, sku, version, name, price_pence, vat_rate, allergen_mask, ingredients, created_at, changed_at)"
    f" SELECT tenant, '{_LUXURY}', 1, 'Palace', {TOO_MUCH_PENCE}, 'ZERO', 0, '{{{{}}}}', now(), now() FROM bench_tenant",
    "INSERT INTO orders.product (tenant_id, sku, version, name, price_pence, vat_rate, allergen_mask)"
    f" SELECT tenant, '{_LUXURY}', 1, 'Palace', {TOO_MUCH_PENCE}, 'ZERO', 0 FROM bench_tenant",
    "INSERT INTO inventory.stock (tenant_id, shop_id, sku, available, held, consumed, received, changed_at)"
    f" SELECT tenant, shop, '{_LUXURY}', {UNITS_RECEIVED}, 0, 0, {UNITS_RECEIVED}, now() FROM bench_tenant",
    "DROP TABLE bench_tenant",
    "ANALYZE",
)
_END: Final = """
    SELECT (SELECT count(*) FROM orders.customer_order WHERE status = 'CONFIRMED') AS confirmed,
        (SELECT count(*) FROM orders.customer_order WHERE rejection = 'OVER_QUOTA') AS rejected,
        (SELECT count(*) FROM orders.customer_order
            WHERE status NOT IN ('CONFIRMED', 'REJECTED', 'COMPLETED') OR rejection <> 'OVER_QUOTA') AS pending,
        (SELECT sum(held) FROM inventory.stock)::bigint AS units_held,
        (SELECT sum(received - available) FROM inventory.stock)::bigint AS units_gone,
        (SELECT coalesce(sum(orders_held), 0) FROM tenants.quota)::bigint AS orders_in_quota,
        (SELECT coalesce(sum(pence_held), 0) FROM tenants.quota)::bigint AS pence_in_quota"""
_HOLDS: Final = """
    SELECT (SELECT sum(quantity) FROM inventory.stock_hold_line JOIN inventory.stock_hold USING (tenant_id, order_id, step)
            WHERE state = 'HELD')::bigint AS units,
        (SELECT count(*) FROM tenants.quota_hold WHERE state = 'HELD') AS quotas,
        (SELECT count(*) FROM sagas.saga WHERE state NOT IN ('COMPLETED', 'ABANDONED')) AS open_sagas,
        (SELECT count(*) FROM sagas.saga) AS sagas"""


@dataclass(frozen=True)
class Held:
    """What the single reservations add up to, and the sagas: another way to count the same."""

    units: int
    quotas: int
    open_sagas: int
    sagas: int


@dataclass(frozen=True)
class Town:
    """The tenants of one workload, by number."""

    workload: Workload

    def tenant(self, number: int) -> TenantId:
        return TenantId(uuid5(_NAMESPACE, f"tenant {number}"))

    def shop(self, number: int) -> ShopId:
        return ShopId(uuid5(_NAMESPACE, f"shop {number}"))

    def sku(self, work: Work) -> Sku:
        return f"SKU-{work.sku}"

    def sku_over_http(self, work: Work) -> Sku:
        """Over HTTP a product's price makes an order's: one that asks more than any quota is of a product that costs more."""
        return _LUXURY if work.is_refused else self.sku(work)

    async def fill(self, administrator: asyncpg.Connection) -> None:
        """Put all there, ample of everything."""
        numbers = range(self.workload.tenants)
        given = [self.tenant(number) for number in numbers], [self.shop(number) for number in numbers]
        first, *others = _FILL
        await administrator.execute(first, *given)
        for statement in others:
            await administrator.execute(statement.format(skus=self.workload.skus))


async def end_state(administrator: asyncpg.Connection) -> EndState:
    """What is in the books of all tenants together."""
    row = await administrator.fetchrow(_END)
    assert row is not None
    return EndState(**dict(row))


async def held(administrator: asyncpg.Connection) -> Held:
    row = await administrator.fetchrow(_HOLDS)
    assert row is not None
    return Held(**{name: value or 0 for name, value in row.items()})
