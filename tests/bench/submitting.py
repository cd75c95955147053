"""Orders put straight into the books and the outbox of `orders`, as its API does, but without HTTP: what the sagas can take.

Whatever is due goes into one transaction, tenant by tenant, as concurrent requests share one at the API.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from contracts.orders import OrderPlaced
from contracts.values import OrderId, OrderLine, TenantId, VatAmount, VatRate
from infra.broker import close, connect, open_broker
from infra.identifiers import uuid7
from infra.runtime import open_runtime
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from tests.bench.books import Town
from tests.bench.workload import Work

_ADD_ORDERS: Final = """
    INSERT INTO orders.customer_order
        (tenant_id, order_id, shop_id, status, total_pence, vat_pence, revision, created_at, changed_at, paid_by_card)
    SELECT $1, order_id, shop_id, 'PENDING', pence, 0, 1, $2, $2, false
    FROM unnest($3::uuid[], $4::uuid[], $5::bigint[]) AS given (order_id, shop_id, pence)"""
_ADD_LINES: Final = """
    INSERT INTO orders.order_line
        (tenant_id, order_id, position, sku, name, quantity, unit_price_pence, vat_rate, total_pence, vat_pence)
    SELECT $1, order_id, 0, sku, 'Product', quantity, 100, 'ZERO', quantity * 100, 0
    FROM unnest($2::uuid[], $3::text[], $4::bigint[]) AS given (order_id, sku, quantity)"""


@dataclass(frozen=True)
class Submitter:
    """`is_shipped`: the orders carry what PLACE_ORDER's ledger step needs as well."""

    transaction: Transactions
    town: Town
    is_shipped: bool

    async def submit(self, works: Sequence[Work]) -> list[UUID]:
        """The ids of these orders, PENDING, durable and handed to the relay."""
        groups: dict[TenantId, list[Work]] = {}
        for work in works:
            groups.setdefault(self.town.tenant(work.tenant), []).append(work)
        ids: dict[int, UUID] = {}
        async with self.transaction.batch() as batch:
            for tenant_id in sorted(groups):
                async with batch.scope(tenant_id) as scope:
                    ids |= await self._place(scope, groups[tenant_id])
        return [ids[work.number] for work in works]

    async def _place(self, scope: Scope, works: Sequence[Work]) -> dict[int, UUID]:
        ids = {work.number: uuid7(scope.now) for work in works}
        shop_id = self.town.shop(works[0].tenant)
        orders = list(ids.values())
        await scope.connection.execute(
            _ADD_ORDERS, scope.tenant_id, scope.now, orders, [shop_id] * len(works), [work.pence for work in works]
        )
        lines = [self.town.sku(work) for work in works], [work.quantity for work in works]
        await scope.connection.execute(_ADD_LINES, scope.tenant_id, orders, *lines)
        for work in works:
            line = OrderLine(sku=self.town.sku(work), quantity=work.quantity)
            vat = (VatAmount(rate=VatRate.ZERO, total=work.pence, vat=0),) if self.is_shipped else ()
            placed = OrderPlaced(
                order_id=OrderId(ids[work.number]), shop_id=shop_id, lines=(line,), total=work.pence, placed_at=scope.now, vat=vat
            )
            scope.send(placed, subject=str(ids[work.number]))
        return ids


@asynccontextmanager
async def submitter(settings: Settings, town: Town, *, is_shipped: bool) -> AsyncIterator[Submitter]:
    """The orders' own database role, outbox and relay, in this process."""
    publisher = open_broker(settings)
    await connect(publisher, settings, patience_s=10)
    try:
        async with open_runtime("orders", publisher, settings) as runtime:
            yield Submitter(runtime.transaction, town, is_shipped)
    finally:
        await close(publisher)
