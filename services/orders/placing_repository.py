"""What placing a group of one tenant's orders needs of the database, and what it leaves there: one statement each way, whatever the size.

Every client waits for these two, so they go round the ORM.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.values import OrderStatus, ShopId, Sku, VatRate
from infra.transaction import Scope
from services.orders.idempotency import Claim
from services.orders.model import KnownProduct, KnownShop
from services.orders.use_cases import PlacedOrder

_LOAD: Final = """
    SELECT
        ARRAY(SELECT (key, fingerprint, answer) FROM orders.idempotency WHERE tenant_id = $1 AND key = ANY($2::text[])),
        ARRAY(SELECT (shop_id, accepts_by_hand) FROM orders.shop WHERE tenant_id = $1 AND shop_id = ANY($3::uuid[])),
        ARRAY(SELECT (sku, name, price_pence, vat_rate) FROM orders.product WHERE tenant_id = $1 AND sku = ANY($4::text[]))"""

# Sorted: of two groups with the same keys in opposite order each would wait for the other.
_CLAIM: Final = """
    INSERT INTO orders.idempotency (tenant_id, key, fingerprint, order_id, answer, created_at)
    SELECT $1::uuid, given.*, $6::timestamptz
    FROM unnest($2::text[], $3::text[], $4::uuid[], $5::text[]) AS given (key, fingerprint, order_id, answer)
    ORDER BY given.key
    ON CONFLICT (tenant_id, key) DO NOTHING"""

_ADD_ORDERS: Final = """
    INSERT INTO orders.customer_order
        (tenant_id, order_id, shop_id, status, total_pence, vat_pence, paid_by_card, revision, created_at, changed_at)
    SELECT $1::uuid, given.order_id, given.shop_id, $2, given.total, given.vat, given.paid_by_card, 1, $3::timestamptz, $3
    FROM unnest($4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[], $8::boolean[])
        AS given (order_id, shop_id, total, vat, paid_by_card)"""

_ADD_LINES: Final = """
    INSERT INTO orders.order_line
        (tenant_id, order_id, position, sku, name, quantity, unit_price_pence, vat_rate, total_pence, vat_pence)
    SELECT $1::uuid, line.*
    FROM unnest($2::uuid[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::bigint[])
        AS line"""


@dataclass(frozen=True, slots=True)
class Known:
    """What the tenant has of all that a group of requests names."""

    answers: Mapping[str, tuple[str, str]]
    """By Idempotency-Key the fingerprint of the request that came with it, and the body that it was answered with."""
    shops: Mapping[ShopId, KnownShop]
    products: Mapping[Sku, KnownProduct]


@dataclass(frozen=True, slots=True)
class Answered:
    """A placed order, and the body that its request is answered with."""

    order: PlacedOrder
    claim: Claim | None
    answer: str


async def load(scope: Scope, keys: Collection[str], shop_ids: Collection[ShopId], skus: Collection[Sku]) -> Known:
    row = await scope.connection.fetchrow(_LOAD, scope.tenant_id, [*keys], [*shop_ids], [*skus])
    assert row is not None
    answers, shops, products = row
    return Known(
        {key: (fingerprint, answer) for key, fingerprint, answer in answers},
        {shop_id: KnownShop(shop_id, by_hand) for shop_id, by_hand in shops},
        {sku: KnownProduct(sku, name, price_pence, VatRate(vat_rate)) for sku, name, price_pence, vat_rate in products},
    )


def save(scope: Scope, placed: Sequence[Answered]) -> None:
    """Have the PENDING orders, their lines and what is remembered of their requests written."""
    if placed:
        _claim(scope, [(one.claim, one) for one in placed if one.claim is not None])
        _add_orders(scope, [one.order for one in placed])


def _claim(scope: Scope, claimed: Sequence[tuple[Claim, Answered]]) -> None:
    if not claimed:
        return
    scope.write(
        _CLAIM,
        scope.tenant_id,
        [claim.key for claim, _ in claimed],
        [claim.fingerprint for claim, _ in claimed],
        [one.order.order_id for _, one in claimed],
        [one.answer for _, one in claimed],
        scope.now,
        # Fewer: a request in another transaction was there first, a moment ago. Then nothing of this one may stay.
        rows=len(claimed),
    )


def _add_orders(scope: Scope, orders: Sequence[PlacedOrder]) -> None:
    scope.write(
        _ADD_ORDERS,
        scope.tenant_id,
        OrderStatus.PENDING.value,
        scope.now,
        [order.order_id for order in orders],
        [order.shop_id for order in orders],
        [order.total_pence for order in orders],
        [order.vat_pence for order in orders],
        [order.placed.payment is not None for order in orders],
    )
    lines = [(order.order_id, position, line) for order in orders for position, line in enumerate(order.lines)]
    scope.write(
        _ADD_LINES,
        scope.tenant_id,
        [order_id for order_id, _, _ in lines],
        [position for _, position, _ in lines],
        [line.sku for _, _, line in lines],
        [line.name for _, _, line in lines],
        [line.quantity for _, _, line in lines],
        [line.unit_price_pence for _, _, line in lines],
        [line.vat_rate.value for _, _, line in lines],
        [line.total_pence for _, _, line in lines],
        [line.vat_pence for _, _, line in lines],
    )
