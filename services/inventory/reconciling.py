"""What inventory tells about its stock and holds when the services' books are compared, and what can be mended in them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.inventory import ReleaseStock
from contracts.orders import OrderCompleted
from contracts.values import OrderId
from infra.reconcile import Books, Case, Imbalance, Line, NothingToMend, Subject, by_use_case
from infra.rows import require_updated
from infra.transaction import Scope
from services.inventory.consumers import HANDLES
from services.inventory.repository import STEP

_SUBJECTS: Final = """
    SELECT order_id, state <> 'HELD' AS is_at_rest, changed_at FROM inventory.stock_hold
    WHERE tenant_id = $1 AND step = $2 AND (state = 'HELD' OR changed_at >= $3)
    ORDER BY state = 'HELD' DESC, changed_at DESC LIMIT $4"""

_LINES: Final = """
    SELECT order_id, state, changed_at, coalesce(goods.listed, '') AS goods
    FROM inventory.stock_hold AS hold LEFT JOIN LATERAL (
        SELECT string_agg(quantity || ' ' || sku, ', ' ORDER BY sku COLLATE "C") AS listed FROM inventory.stock_hold_line AS line
        WHERE line.tenant_id = $1 AND line.order_id = hold.order_id AND line.step = $2 AND hold.state IN ('HELD', 'CONSUMED')
    ) AS goods ON true
    WHERE hold.tenant_id = $1 AND hold.step = $2 AND hold.order_id = ANY($3::uuid[])"""

_COUNTED: Final = """
    SELECT hold.shop_id, line.sku,
        coalesce(sum(line.quantity) FILTER (WHERE hold.state = 'HELD'), 0)::bigint AS held,
        coalesce(sum(line.quantity) FILTER (WHERE hold.state = 'CONSUMED'), 0)::bigint AS consumed
    FROM inventory.stock_hold AS hold JOIN inventory.stock_hold_line AS line
      ON line.tenant_id = hold.tenant_id AND line.order_id = hold.order_id AND line.step = hold.step
    WHERE hold.tenant_id = $1 AND hold.state IN ('HELD', 'CONSUMED')"""

_IMBALANCES: Final = f"""
    WITH counted AS ({_COUNTED} GROUP BY 1, 2), stored AS (
        SELECT shop_id, sku, held, consumed, changed_at FROM inventory.stock WHERE tenant_id = $1)
    SELECT shop_id, sku, stored.held, stored.consumed, coalesce(counted.held, 0) AS held_counted,
        coalesce(counted.consumed, 0) AS consumed_counted, coalesce(stored.changed_at, $2) AS changed_at
    FROM stored FULL JOIN counted USING (shop_id, sku)
    WHERE (stored.held, stored.consumed) IS DISTINCT FROM (coalesce(counted.held, 0), coalesce(counted.consumed, 0))
    ORDER BY shop_id, sku"""  # noqa: S608 - all of it is in this file

_LOCK: Final = "SELECT held, consumed FROM inventory.stock WHERE tenant_id = $1 AND shop_id = $2 AND sku = $3 FOR UPDATE"
_COUNT: Final = f"SELECT held, consumed FROM ({_COUNTED} AND hold.shop_id = $2 AND line.sku = $3 GROUP BY 1, 2) AS counted"  # noqa: S608 - as above
_RECOUNT: Final = """
    UPDATE inventory.stock SET held = $4, consumed = $5, received = available + $4 + $5, changed_at = $6
    WHERE tenant_id = $1 AND shop_id = $2 AND sku = $3"""


async def subjects(scope: Scope, since: datetime, most: int) -> list[Subject]:
    return [Subject(*row) for row in await scope.connection.fetch(_SUBJECTS, scope.tenant_id, STEP, since, most)]


async def lines(scope: Scope, orders: Sequence[UUID]) -> list[Line]:
    rows = await scope.connection.fetch(_LINES, scope.tenant_id, STEP, list(orders))
    return [
        Line(subject=row["order_id"], book="stock", state=row["state"], changed_at=row["changed_at"], goods=row["goods"]) for row in rows
    ]


async def imbalances(scope: Scope) -> list[Imbalance]:
    """Stock whose held and consumed units are not what the holds say."""
    return [
        Imbalance(
            book="stock",
            key=f"{row['shop_id']}/{row['sku']}",
            stored="no row" if row["held"] is None else _units(row["held"], row["consumed"]),
            counted=_units(row["held_counted"], row["consumed_counted"]),
            changed_at=row["changed_at"],
        )
        for row in await scope.connection.fetch(_IMBALANCES, scope.tenant_id, scope.now)
    ]


async def release(scope: Scope, case: Case) -> str:
    """Give back what the order holds; its tombstone stays, so that nothing is held for it later."""
    await by_use_case(scope, HANDLES, ReleaseStock(order_id=OrderId(case.order_id)))
    return f"the stock of order {case.key} is released"


async def consume(scope: Scope, case: Case) -> str:
    """The held goods have left the shop."""
    await by_use_case(scope, HANDLES, OrderCompleted(order_id=OrderId(case.order_id)))
    return f"the stock of order {case.key} is consumed"


async def recount(scope: Scope, case: Case) -> str:
    """Write down what the holds say. What may be sold stays: that is what the shop has counted."""
    shop, _, sku = case.key.partition("/")
    key = (scope.tenant_id, UUID(shop), sku)
    # Whoever changes a hold of this SKU holds this lock while it does, so what is counted after it is what is so.
    stored = await scope.connection.fetchrow(_LOCK, *key)
    if stored is None:
        raise NothingToMend(f"inventory has no stock of {case.key}")
    counted = await scope.connection.fetchrow(_COUNT, *key)
    held, consumed = (counted["held"], counted["consumed"]) if counted else (0, 0)
    require_updated(await scope.connection.execute(_RECOUNT, *key, held, consumed, scope.now), 1)
    return f"{case.key} was {_units(stored['held'], stored['consumed'])} and is {_units(held, consumed)}"


def _units(held: int, consumed: int) -> str:
    return f"{held} held and {consumed} consumed"


BOOKS: Final = Books(
    kept_in="inventory.stock_hold",
    subjects=subjects,
    lines=lines,
    imbalances=imbalances,
    mends={"release": release, "consume": consume, "recount": recount},
)
