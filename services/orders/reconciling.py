"""What orders tells about its orders when the services' books are compared, and what can be mended in them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.messages import Event, Message
from contracts.orders import ApproveOrder, MarkOrderCancelled, OrderCancelRequested, OrderPlaced, RejectOrder
from contracts.values import OrderId, OrderLine, OrderStatus, Rejection, ShopId, VatRate
from infra.reconcile import Books, Case, Line, NothingToMend, Subject, by_use_case
from infra.transaction import Scope
from services.orders import repository, use_cases
from services.orders.consumers import HANDLES
from services.orders.order import IllegalTransition, Order, OrderBook
from services.orders.pricing import PricedLine, vat_amounts

_REASON_CHARACTERS_MAX: Final = 200
_AT_REST: Final = "status IN ('COMPLETED', 'CANCELLED', 'REJECTED')"
_SUBJECTS: Final = f"""
    SELECT order_id, {_AT_REST} AS is_at_rest, changed_at FROM orders.customer_order
    WHERE tenant_id = $1 AND status <> 'DRAFT' AND (changed_at >= $2 OR NOT {_AT_REST})
    ORDER BY {_AT_REST}, changed_at DESC LIMIT $3"""  # noqa: S608 - all of it is in this file
_LINES: Final = """
    SELECT placed.order_id, placed.status, coalesce(placed.cancelled_from, '') AS was, placed.total_pence, placed.paid_by_card,
        placed.changed_at, goods.listed AS goods
    FROM orders.customer_order AS placed CROSS JOIN LATERAL (
        SELECT coalesce(string_agg(quantity || ' ' || sku, ', ' ORDER BY sku COLLATE "C"), '') AS listed FROM orders.order_line AS line
        WHERE line.tenant_id = $1 AND line.order_id = placed.order_id
    ) AS goods
    WHERE placed.tenant_id = $1 AND placed.order_id = ANY($2::uuid[])"""


async def subjects(scope: Scope, since: datetime, most: int) -> list[Subject]:
    return [Subject(*row) for row in await scope.connection.fetch(_SUBJECTS, scope.tenant_id, since, most)]


async def lines(scope: Scope, orders: Sequence[UUID]) -> list[Line]:
    """`was` is from where a cancelled order was cancelled."""
    return [
        Line(
            subject=row["order_id"],
            book="order",
            state=row["status"],
            was=row["was"],
            pence=row["total_pence"],
            goods=row["goods"],
            by_card=row["paid_by_card"],
            changed_at=row["changed_at"],
        )
        for row in await scope.connection.fetch(_LINES, scope.tenant_id, list(orders))
    ]


async def start(scope: Scope, case: Case) -> str:
    """Send again the event that starts the order's saga; a saga that has begun meanwhile is not begun twice.

    How a card order is paid is known to its saga alone, so without one it is rejected: nothing was ever asked for it.
    """
    order = await _locked(scope, case)
    row = await repository.find_order(scope, case.order_id)
    assert row is not None, f"order {case.key} is locked"
    if order.is_approved:
        reason = order.cancel_reason or case.reason[:_REASON_CHARACTERS_MAX]
        return _sent(scope, order, OrderCancelRequested(order_id=order.order_id, reason=reason, paid=order.paid_by_card))
    if order.paid_by_card:
        await by_use_case(scope, HANDLES, RejectOrder(order_id=order.order_id, rejection=Rejection.FAULT))
        return f"order {case.key} has ended, because its card is not known any more: its client has to place it again"
    lines_ = (await repository.lines_of(scope, [case.order_id]))[case.order_id]
    priced = [PricedLine.of(one.sku, one.name, one.quantity, one.unit_price_pence, VatRate(one.vat_rate)) for one in lines_]
    shop = await repository.find_shop(scope, ShopId(row.shop_id))
    placed = OrderPlaced(
        order_id=order.order_id,
        shop_id=ShopId(row.shop_id),
        lines=tuple(OrderLine(sku=one.sku, quantity=one.quantity) for one in priced),
        total=row.total_pence,
        placed_at=row.created_at,
        vat=vat_amounts(priced),
        accept_by_hand=shop is not None and shop.accepts_by_hand,
    )
    return _sent(scope, order, placed)


async def finish(scope: Scope, case: Case) -> str:
    """Bring the order to the end that its saga has come to."""
    order = await _locked(scope, case)
    name = "cancel-order" if order.is_approved else "place-order"
    ended = next((line.state for line in case.lines if line.book == name), None)
    command: Message
    match name, ended:
        case "cancel-order", "COMPLETED":
            command = MarkOrderCancelled(order_id=order.order_id)
        case "place-order", "COMPLETED" if order.status is OrderStatus.PENDING:
            command = ApproveOrder(order_id=order.order_id)
        case "place-order", "COMPLETED" | "ABANDONED":
            command = RejectOrder(order_id=order.order_id, rejection=Rejection.FAULT)
        case _:
            raise NothingToMend(f"order {case.key} is {order.status}, and its saga {name} is {ended or 'not there'}")
    await by_use_case(scope, HANDLES, command)
    return f"order {case.key} was {order.status} and is ended as its saga {name} says"


async def cancel(scope: Scope, case: Case) -> str:
    """Cancel a confirmed order, as its client can: its saga gives everything back."""
    return await _moved(scope, case, lambda order: use_cases.cancel_order(order, case.reason[:_REASON_CHARACTERS_MAX]))


async def close(scope: Scope, case: Case) -> str:
    """End an order that the shop has forgotten: cancelled if nobody has begun with it, else its goods have left the shelf."""

    def move(order: Order) -> Event | None:
        if order.status is OrderStatus.CONFIRMED:
            return use_cases.cancel_order(order, case.reason[:_REASON_CHARACTERS_MAX])
        if order.status is OrderStatus.PREPARING:
            use_cases.ready_order(order)
        return use_cases.complete_order(order)

    return await _moved(scope, case, move)


async def _moved(scope: Scope, case: Case, move: Callable[[Order], Event | None]) -> str:
    order = await _locked(scope, case)
    before = order.status
    try:
        event = move(order)
    except IllegalTransition as error:
        raise NothingToMend(str(error)) from error
    await repository.save_orders(scope, OrderBook({order.order_id: order}))
    if event is not None:
        scope.send(event, subject=str(order.order_id), sequence=order.revision)
    return f"order {case.key} was {before} and is {order.status}"


async def _locked(scope: Scope, case: Case) -> Order:
    book = await repository.lock_orders(scope, [OrderId(case.order_id)])
    if not book.orders:
        raise NothingToMend(f"there is no order {case.key}")
    order = book.find(OrderId(case.order_id))
    seen = next((line.state for line in case.lines if line.book == "order"), None)
    # What mending does to it was agreed to as it was seen.
    if order.status != seen:
        raise NothingToMend(f"order {case.key} was {seen or 'not there'} and is {order.status} now: look again")
    return order


def _sent(scope: Scope, order: Order, event: Event) -> str:
    scope.send(event, subject=str(order.order_id), sequence=order.revision)
    return f"{type(event).__name__} of order {order.order_id} is sent again"


BOOKS: Final = Books(
    kept_in="orders.customer_order",
    subjects=subjects,
    lines=lines,
    mends={"start": start, "finish": finish, "cancel": cancel, "close": close},
)
