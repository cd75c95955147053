"""All SQL of inventory: the shelf for a group of commands, and single rows for the API.

Lock order inside a tenant: holds sorted by order, then stock sorted by (shop, SKU), each once per group. Ask and undo of an
order both put its hold row there first (state NEW, nothing held) and then lock it, so whichever commits first is seen by
the other. However many commands a group has, it costs three statements to load, which travel together, and one to save.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select, tuple_

from contracts.inventory import ReleaseStock, ReserveStock
from contracts.messages import Envelope
from contracts.orders import OrderCompleted
from contracts.values import OrderId, ShopId, Sku
from infra.holds import Holds
from infra.transaction import Scope
from infra.wire import Answer
from infra.wire_values import Row
from services.inventory.model import Hold, HoldState, Level, Product, Shelf, Shop, Stock

STEP: Final = "reserve-stock"
"""The saga's step that the holds belong to."""

_HOLDS: Final = Holds("inventory.stock_hold", STEP, "state, shop_id, reservation_id")

_LINES: Final = """
    SELECT order_id, sku, quantity FROM inventory.stock_hold_line
    WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) AND step = $3"""

_LOCK: Final = """
    SELECT stock.shop_id, stock.sku, stock.available, stock.held, stock.consumed
    FROM inventory.stock JOIN ({wanted}) AS wanted (shop_id, sku)
      ON stock.shop_id = wanted.shop_id AND stock.sku = wanted.sku
    WHERE stock.tenant_id = $1
    ORDER BY stock.shop_id, stock.sku FOR UPDATE OF stock"""
_ASKED: Final = "SELECT * FROM unnest($2::uuid[], $3::text[])"
_HELD: Final = """
    SELECT hold.shop_id, line.sku
    FROM inventory.stock_hold AS hold JOIN inventory.stock_hold_line AS line USING (tenant_id, order_id, step)
    WHERE hold.tenant_id = $1 AND hold.order_id = ANY($4::uuid[]) AND hold.step = $5 AND hold.state = 'HELD'"""
_LOCK_STOCK: Final = _LOCK.format(wanted=_ASKED)
_LOCK_STOCK_AND_HELD: Final = _LOCK.format(wanted=f"{_ASKED} UNION {_HELD}")
"""What is asked for, and what the orders hold: their holds are locked by the statement before it, so they are what they will be."""

_SAVE_STOCK: Final = """
    UPDATE inventory.stock
    SET available = level.available, held = level.held, consumed = level.consumed, changed_at = $7
    FROM unnest($2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) AS level (shop_id, sku, available, held, consumed)
    WHERE stock.tenant_id = $1 AND stock.shop_id = level.shop_id AND stock.sku = level.sku"""

_SAVE_HOLDS: Final = """
    UPDATE inventory.stock_hold
    SET state = hold.state, shop_id = hold.shop_id, reservation_id = hold.reservation_id, changed_at = $7
    FROM unnest($3::uuid[], $4::text[], $5::uuid[], $6::uuid[]) AS hold (order_id, state, shop_id, reservation_id)
    WHERE stock_hold.tenant_id = $1 AND stock_hold.step = $2 AND stock_hold.order_id = hold.order_id"""

_ADD_LINES: Final = """
    INSERT INTO inventory.stock_hold_line (tenant_id, order_id, step, sku, quantity)
    SELECT $1::uuid, line.order_id, $2::text, line.sku, line.quantity
    FROM unnest($3::uuid[], $4::text[], $5::bigint[]) AS line (order_id, sku, quantity)"""


class ShelfRepository:
    """Loads the holds and stock levels that a group of commands is about, locked, and saves those that changed."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Shelf:
        messages = [envelope.data for envelope in received]
        asked = [message for message in messages if isinstance(message, ReserveStock)]
        noted = {message.order_id for message in messages if isinstance(message, ReserveStock | ReleaseStock)}
        completed = {message.order_id for message in messages if isinstance(message, OrderCompleted)}
        wanted = {(command.shop_id, line.sku) for command in asked for line in command.lines}
        # All at once: the holds first, for they are locked before the stock.
        holds = _HOLDS.ask(scope, noted, completed)
        if len(asked) == len(messages):
            levels = _ask_levels(scope, wanted)
            return Shelf(scope.tenant_id, _levels(scope.connection.rows(await levels)), _holds(scope.connection.rows(await holds)))
        orders = sorted(noted | completed)
        lines = scope.connection.ask(_LINES, scope.tenant_id, orders, STEP)
        levels = _ask_levels(scope, wanted, orders)
        held = _holds(scope.connection.rows(await holds), scope.connection.rows(await lines))
        return Shelf(scope.tenant_id, _levels(scope.connection.rows(await levels)), held)

    async def save(self, scope: Scope, state: Shelf) -> None:
        _save_levels(scope, [level for level in state.levels.values() if level.changed])
        _save_holds(scope, [hold for hold in state.holds.values() if hold.changed])


def _ask_levels(scope: Scope, wanted: Iterable[tuple[ShopId, Sku]], held_by: Sequence[OrderId] = ()) -> Answer:
    """Ask for the rows that are wanted, and for those of which these orders hold something; they will be locked."""
    keys = sorted(wanted)
    columns = [shop for shop, _ in keys], [sku for _, sku in keys]
    if held_by:
        return scope.connection.ask(_LOCK_STOCK_AND_HELD, scope.tenant_id, *columns, held_by, STEP)
    return scope.connection.ask(_LOCK_STOCK, scope.tenant_id, *columns)


def _holds(rows: Iterable[Row], lines: Iterable[Row] = ()) -> dict[OrderId, Hold]:
    """The holds; what they hold is known only to whoever asked for the lines, because whoever asks for stock does not need it."""
    quantities: dict[OrderId, dict[Sku, int]] = {}
    for line in lines:
        quantities.setdefault(line["order_id"], {})[line["sku"]] = line["quantity"]
    holds = {}
    for row in rows:
        holds[row["order_id"]] = hold = Hold(row["order_id"], HoldState(row["state"]), row["shop_id"], row["reservation_id"])
        if hold.state is HoldState.HELD:
            hold.quantities = quantities.get(hold.order_id, {})
    return holds


def _levels(rows: Iterable[Row]) -> dict[tuple[ShopId, Sku], Level]:
    return {(row["shop_id"], row["sku"]): Level(row["shop_id"], row["sku"], row["available"], row["held"], row["consumed"]) for row in rows}


def _save_levels(scope: Scope, levels: Sequence[Level]) -> None:
    if not levels:
        return
    scope.write(
        _SAVE_STOCK,
        scope.tenant_id,
        [level.shop_id for level in levels],
        [level.sku for level in levels],
        [level.available for level in levels],
        [level.held for level in levels],
        [level.consumed for level in levels],
        scope.now,
        rows=len(levels),
    )


def _save_holds(scope: Scope, holds: Sequence[Hold]) -> None:
    if not holds:
        return
    scope.write(
        _SAVE_HOLDS,
        scope.tenant_id,
        STEP,
        [hold.order_id for hold in holds],
        [hold.state.value for hold in holds],
        [hold.shop_id for hold in holds],
        [hold.reservation_id for hold in holds],
        scope.now,
        rows=len(holds),
    )
    lines = [(hold.order_id, sku, quantity) for hold in holds if hold.taken for sku, quantity in hold.quantities.items()]
    if lines:
        orders, skus, quantities = (list(column) for column in zip(*lines, strict=True))
        scope.write(_ADD_LINES, scope.tenant_id, STEP, orders, skus, quantities)


async def add_shop(scope: Scope, shop: Shop) -> None:
    scope.session.add(shop)
    await scope.session.flush()


async def find_shop(scope: Scope, shop_id: UUID) -> Shop | None:
    found = await scope.session.exec(select(Shop).where(col(Shop.tenant_id) == scope.tenant_id, col(Shop.shop_id) == shop_id))
    return found.one_or_none()


async def list_shops(scope: Scope, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Shop]:
    """At most `limit` shops, newest first, those after the given (created_at, shop_id)."""
    query = select(Shop).where(col(Shop.tenant_id) == scope.tenant_id)
    if after is not None:
        query = query.where(tuple_(col(Shop.created_at), col(Shop.shop_id)) < after)
    return (await scope.session.exec(query.order_by(col(Shop.created_at).desc(), col(Shop.shop_id).desc()).limit(limit))).all()


async def add_product(scope: Scope, product: Product) -> bool:
    """False if the SKU is listed already; nothing is changed then."""
    statement = insert(Product).values(**product.model_dump()).on_conflict_do_nothing(index_elements=["tenant_id", "sku"])
    added = await scope.session.exec(statement.returning(col(Product.sku)))
    return added.one_or_none() is not None


async def find_product(scope: Scope, sku: str, *, to_change: bool = False) -> Product | None:
    """With `to_change` the row is locked: two changes of one SKU make two versions, one after the other."""
    query = select(Product).where(col(Product.tenant_id) == scope.tenant_id, col(Product.sku) == sku)
    found = await scope.session.exec(query.with_for_update(key_share=True) if to_change else query)
    return found.one_or_none()


async def list_products(scope: Scope, after: str | None, limit: int) -> Sequence[Product]:
    """At most `limit` products in the order of their SKUs, those after the given one."""
    query = select(Product).where(col(Product.tenant_id) == scope.tenant_id)
    if after is not None:
        query = query.where(col(Product.sku) > after)
    return (await scope.session.exec(query.order_by(col(Product.sku)).limit(limit))).all()


async def find_stock(scope: Scope, shop_id: UUID, sku: str) -> Stock | None:
    keys = (col(Stock.tenant_id) == scope.tenant_id, col(Stock.shop_id) == shop_id, col(Stock.sku) == sku)
    return (await scope.session.exec(select(Stock).where(*keys))).one_or_none()


async def stock_to_change(scope: Scope, shop_id: UUID, sku: str) -> Stock:
    """The row, locked, and put there with nothing in it if this is the first time. Shop and product exist."""
    empty = insert(Stock).values(tenant_id=scope.tenant_id, shop_id=shop_id, sku=sku, changed_at=scope.now)
    zeros = {"available": 0, "held": 0, "consumed": 0, "received": 0}
    await scope.session.exec(empty.values(**zeros).on_conflict_do_nothing(index_elements=["tenant_id", "shop_id", "sku"]))
    keys = (col(Stock.tenant_id) == scope.tenant_id, col(Stock.shop_id) == shop_id, col(Stock.sku) == sku)
    return (await scope.session.exec(select(Stock).where(*keys).with_for_update(key_share=True))).one()


async def list_stock(scope: Scope, shop_id: UUID, after: str | None, limit: int) -> Sequence[Stock]:
    """At most `limit` rows of the shop in the order of their SKUs, those after the given one."""
    query = select(Stock).where(col(Stock.tenant_id) == scope.tenant_id, col(Stock.shop_id) == shop_id)
    if after is not None:
        query = query.where(col(Stock.sku) > after)
    return (await scope.session.exec(query.order_by(col(Stock.sku)).limit(limit))).all()
