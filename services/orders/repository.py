"""All SQL of orders: the orders and the catalogue for a group of messages, and orders for the API.

Lock order inside a tenant: orders sorted by id, then products sorted by SKU, each once per group. The commands that wait for the shop
(orders.unanswered, and their inbox rows) are touched only by whoever holds their order's lock, so they need no order of their own.
However many messages a group has, it costs one statement to load and at most four to save.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import String, bindparam
from sqlmodel import col, select, tuple_

from contracts.inventory import ProductListed
from contracts.messages import Envelope
from contracts.orders import (
    ApproveOrder,
    MarkOrderCancelled,
    OrderAccepted,
    OrderDeclined,
    RejectOrder,
    RequestAcceptance,
    WithdrawAcceptance,
)
from contracts.values import OrderId, OrderStatus, Rejection, ShopId, TenantId, mask_of
from infra.deferred import Deferred
from infra.transaction import Batch, Scope
from infra.wire_values import Row
from services.orders.acceptance import Acceptance, AcceptanceState
from services.orders.model import Catalogue, KnownShop, OrderLineRow, OrderRow
from services.orders.order import Order, OrderBook

_BookCommand = ApproveOrder | RejectOrder | MarkOrderCancelled | RequestAcceptance | WithdrawAcceptance
_DEFERRED: Final = Deferred("orders")

_FIND_ORDERS: Final = """
    SELECT order_id, status, rejection, revision, paid_by_card, acceptance, cancelled_from, cancel_reason FROM orders.customer_order
    WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])"""

_LOCK_ORDERS: Final = f"{_FIND_ORDERS} ORDER BY order_id FOR UPDATE"

_SAVE_ORDERS: Final = """
    UPDATE orders.customer_order AS saved
    SET status = given.status, rejection = given.rejection, revision = given.revision, changed_at = $9,
        acceptance = given.acceptance, cancelled_from = given.cancelled_from, cancel_reason = given.cancel_reason
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
        AS given (order_id, status, rejection, revision, acceptance, cancelled_from, cancel_reason)
    WHERE saved.tenant_id = $1 AND saved.order_id = given.order_id"""

_ADD_SHOPS: Final = """
    INSERT INTO orders.shop (tenant_id, shop_id, name, accepts_by_hand)
    SELECT $1::uuid, given.* FROM unnest($2::uuid[], $3::text[], $4::boolean[]) AS given (shop_id, name, accepts_by_hand)
    ORDER BY given.shop_id
    ON CONFLICT (tenant_id, shop_id) DO NOTHING"""

# Sorted, because two workers with the same products in opposite order would deadlock. The version decides, not the order
# of arrival: with several workers an older version may come last.
_SAVE_PRODUCTS: Final = """
    INSERT INTO orders.product AS known (tenant_id, sku, version, name, price_pence, vat_rate, allergen_mask)
    SELECT $1::uuid, given.* FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::integer[])
        AS given (sku, version, name, price_pence, vat_rate, allergen_mask)
    ORDER BY given.sku
    ON CONFLICT (tenant_id, sku) DO UPDATE
    SET version = excluded.version, name = excluded.name, price_pence = excluded.price_pence, vat_rate = excluded.vat_rate,
        allergen_mask = excluded.allergen_mask
    WHERE known.version < excluded.version"""

_FIND_SHOP: Final = "SELECT shop_id, accepts_by_hand FROM orders.shop WHERE tenant_id = $1 AND shop_id = $2"

_SETTLED: Final = f"{_FIND_ORDERS} AND status NOT IN ('DRAFT', 'PENDING', 'CANCELLING')"


class OrderBookRepository:
    """Loads the orders that a group of commands is about, locked, and saves those that changed."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> OrderBook:
        messages = [envelope.data for envelope in received]
        return await lock_orders(scope, {message.order_id for message in messages if isinstance(message, _BookCommand)})

    async def save(self, scope: Scope, state: OrderBook) -> None:
        await save_orders(scope, state)


class CatalogueRepository:
    """Keeps the newest of what inventory tells; there is nothing to load, because versions are compared as they are saved."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Catalogue:  # noqa: ARG002 - the port's shape
        return Catalogue()

    async def save(self, scope: Scope, state: Catalogue) -> None:
        if state.shops:
            shops = state.shops.values()
            columns = [shop.name for shop in shops], [shop.accepts_by_hand for shop in shops]
            scope.write(_ADD_SHOPS, scope.tenant_id, list(state.shops), *columns)
        if state.products:
            _save_products(scope, list(state.products.values()))


async def lock_orders(scope: Scope, order_ids: Iterable[OrderId]) -> OrderBook:
    """Those of the orders that the tenant has; nobody else changes them until this transaction ends."""
    rows = await scope.connection.fetch(_LOCK_ORDERS, scope.tenant_id, sorted(order_ids))
    return OrderBook({row["order_id"]: _order(row) for row in rows})


async def save_orders(scope: Scope, book: OrderBook) -> None:
    """Write the orders that changed, and tell the sagas that waited for the shop what has become of it."""
    changed = [order for order in book.orders.values() if order.changed]
    if not changed:
        return
    scope.write(
        _SAVE_ORDERS,
        scope.tenant_id,
        [order.order_id for order in changed],
        [order.status.value for order in changed],
        [order.rejection.value if order.rejection else None for order in changed],
        [order.revision for order in changed],
        [order.acceptance.state.value for order in changed],
        [order.cancelled_from.value if order.cancelled_from else None for order in changed],
        [order.cancel_reason for order in changed],
        scope.now,
        rows=len(changed),
    )
    await _tell(scope, [order for order in changed if order.acceptance.ends_wait])


async def _tell(scope: Scope, settled: Iterable[Order]) -> None:
    answers = {str(order.order_id): order.acceptance.answer for order in settled}
    replies = {subject: answer for subject, answer in answers.items() if isinstance(answer, OrderAccepted | OrderDeclined)}
    if replies:
        await _DEFERRED.answer_each(scope, RequestAcceptance, replies)


def _save_products(scope: Scope, products: Sequence[ProductListed]) -> None:
    scope.write(
        _SAVE_PRODUCTS,
        scope.tenant_id,
        [product.sku for product in products],
        [product.version for product in products],
        [product.name for product in products],
        [product.price_pence for product in products],
        [product.vat_rate.value for product in products],
        [mask_of(product.allergens) for product in products],
    )


async def find_shop(scope: Scope, shop_id: ShopId) -> KnownShop | None:
    row = await scope.connection.fetchrow(_FIND_SHOP, scope.tenant_id, shop_id)
    return None if row is None else KnownShop(**row)


async def find_order(scope: Scope, order_id: UUID) -> OrderRow | None:
    keys = (col(OrderRow.tenant_id) == scope.tenant_id, col(OrderRow.order_id) == order_id)
    return (await scope.session.exec(select(OrderRow).where(*keys))).one_or_none()


async def list_orders(scope: Scope, status: OrderStatus | None, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[OrderRow]:
    """At most `limit` orders, newest first, those before the given (created_at, order_id)."""
    query = select(OrderRow).where(col(OrderRow.tenant_id) == scope.tenant_id)
    if status is not None:
        # Written out, not a parameter: only so can the partial index on PENDING be used by a cached plan.
        query = query.where(col(OrderRow.status) == bindparam("status", status.value, String(), literal_execute=True))
    if before is not None:
        query = query.where(tuple_(col(OrderRow.created_at), col(OrderRow.order_id)) < before)
    newest = query.order_by(col(OrderRow.created_at).desc(), col(OrderRow.order_id).desc())
    return (await scope.session.exec(newest.limit(limit))).all()


async def lines_of(scope: Scope, order_ids: Sequence[UUID]) -> dict[UUID, list[OrderLineRow]]:
    """The lines of each of the orders, in their order."""
    keys = (col(OrderLineRow.tenant_id) == scope.tenant_id, col(OrderLineRow.order_id).in_(order_ids))
    found: dict[UUID, list[OrderLineRow]] = {order_id: [] for order_id in order_ids}
    for line in await scope.session.exec(select(OrderLineRow).where(*keys).order_by(col(OrderLineRow.position))):
        found[line.order_id].append(line)
    return found


async def settled_orders(batch: Batch, watched: Mapping[TenantId, Sequence[OrderId]]) -> dict[tuple[TenantId, OrderId], Order]:
    """Those of the watched orders whose sagas have ended; one statement per tenant, no lock."""
    settled: dict[tuple[TenantId, OrderId], Order] = {}
    for tenant_id, order_ids in sorted(watched.items()):
        async with batch.scope(tenant_id) as scope:
            rows = await scope.connection.fetch(_SETTLED, tenant_id, order_ids)
        settled |= {(tenant_id, row["order_id"]): _order(row) for row in rows}
    return settled


def _order(row: Row) -> Order:
    rejection, cancelled_from = row["rejection"], row["cancelled_from"]
    return Order(
        row["order_id"],
        OrderStatus(row["status"]),
        None if rejection is None else Rejection(rejection),
        row["revision"],
        paid_by_card=row["paid_by_card"],
        acceptance=Acceptance(AcceptanceState(row["acceptance"])),
        cancelled_from=None if cancelled_from is None else OrderStatus(cancelled_from),
        cancel_reason=row["cancel_reason"],
    )
