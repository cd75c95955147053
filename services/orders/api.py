"""Orders over HTTP: request -> use case -> status. No decisions.

An order of another tenant answers like one that does not exist.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from contracts.orders import OrderCompleted
from contracts.values import VISIBLE_ASCII, OrderId, OrderStatus
from infra.auth import Caller, caller_with
from infra.http import FieldError, Problem, decode_cursor, encode_cursor
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from services.orders import repository
from services.orders.idempotency import KeyReused, claim
from services.orders.model import IllegalTransition, Order, UnknownOrder
from services.orders.placing import place
from services.orders.preferences import wait_s
from services.orders.use_cases import NotPlaced, complete_order, prepare_order, ready_order
from services.orders.views import NewOrder, OrderPage, OrderView
from services.orders.waiting import Waiting

Reader = Annotated[Caller, Depends(caller_with("orders:read", "orders:write"))]
Writer = Annotated[Caller, Depends(caller_with("orders:write"))]
_TOLD_MAX: Final = 5
"""Wrong fields that `detail` repeats; `errors` has them all."""
Limit = Annotated[int, Query(ge=1, le=200, description="how many items at most")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=VISIBLE_ASCII,
        description="1 to 255 visible ASCII characters, new for each order: a request sent again is answered alike and places nothing",
    ),
]
Prefer = Annotated[list[str] | None, Header(description="`wait=5` waits up to 5 seconds for the final order (RFC 7240)")]

Move = Callable[[Order], OrderCompleted | None]

MOVES: Final[Mapping[str, tuple[OrderStatus, Move]]] = {
    "prepare": (OrderStatus.PREPARING, prepare_order),
    "ready": (OrderStatus.READY, ready_order),
    "complete": (OrderStatus.COMPLETED, complete_order),
}


def router(transaction: Transactions, settings: Settings) -> APIRouter:
    """The routes of orders, on the given way to its database."""
    routes = APIRouter(prefix="/v1")
    _placing(routes, transaction, settings)
    _reading(routes, transaction)
    for verb, (_, move) in MOVES.items():
        routes.add_api_route(f"/orders/{{order_id}}/{verb}", _moving(transaction, move), methods=["POST"], name=f"{verb}_order")
    return routes


def _placing(routes: APIRouter, transaction: Transactions, settings: Settings) -> None:
    waiting = Waiting(transaction)

    @routes.post("/orders", status_code=202, response_model=OrderView, responses={200: {"model": OrderView, "description": "Final order"}})
    async def place_order(
        caller: Writer, body: NewOrder, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
    ) -> Response:
        try:
            placed = await place(transaction, caller.tenant_id, body.asked(), claim(idempotency_key, body), settings.projection_patience_s)
        except KeyReused as reused:
            raise Problem(422, "Idempotency-Key reused", f"{reused}; send a new key for a new order") from reused
        if isinstance(placed, NotPlaced):
            raise _cannot_place(placed)
        granted_s = wait_s(prefer or (), settings.wait_max_s)
        if granted_s is None:
            return _answer(202, placed)
        applied = {"Preference-Applied": f"wait={granted_s}"}
        order = await _unless_gone(request, waiting.settled(caller.tenant_id, OrderId(placed.id), granted_s))
        if order is None:
            return _answer(202, placed, applied)
        # What was ordered never changes: only where the order has come to is new.
        return _answer(200, placed.model_copy(update={"status": order.status, "rejection": order.rejection}), applied)


def _reading(routes: APIRouter, transaction: Transactions) -> None:
    @routes.get("/orders")
    async def list_orders(caller: Reader, status: OrderStatus | None = None, cursor: str | None = None, limit: Limit = 50) -> OrderPage:
        """Newest first."""
        before = None if cursor is None else decode_cursor(cursor)
        async with transaction(caller.tenant_id) as scope:
            orders = await repository.list_orders(scope, status, before, limit)
            lines = await repository.lines_of(scope, [order.order_id for order in orders])
        following = encode_cursor(orders[-1].created_at, orders[-1].order_id) if len(orders) == limit else None
        return OrderPage(items=[OrderView.stored(order, lines[order.order_id]) for order in orders], next=following)

    @routes.get("/orders/{order_id}")
    async def get_order(caller: Reader, order_id: UUID) -> OrderView:
        async with transaction(caller.tenant_id) as scope:
            return await _view(scope, order_id)


def _moving(transaction: Transactions, move: Move) -> Callable[..., Coroutine[Any, Any, OrderView]]:
    async def move_order(caller: Writer, order_id: UUID) -> OrderView:
        try:
            async with transaction(caller.tenant_id) as scope:
                book = await repository.lock_orders(scope, [OrderId(order_id)])
                order = book.find(OrderId(order_id))
                event = move(order)
                await repository.save_orders(scope, book)
                if event is not None:
                    scope.send(event, subject=str(order_id), sequence=order.revision)
                return await _view(scope, order_id)
        except UnknownOrder as unknown:
            raise _not_found(order_id) from unknown
        except IllegalTransition as illegal:
            raise Problem(409, "Illegal transition", f"{illegal}; {_legal(illegal)}") from illegal

    return move_order


def _legal(illegal: IllegalTransition) -> str:
    verbs = [f"POST /v1/orders/{illegal.order_id}/{verb}" for verb, (status, _) in MOVES.items() if status in illegal.legal]
    if verbs:
        return f"legal now: {', '.join(verbs)}"
    why = "it is still being decided, wait until it is CONFIRMED" if OrderStatus.CONFIRMED in illegal.legal else "its way has ended"
    return f"legal now: none of {', '.join(MOVES)}: {why}"


def _cannot_place(refused: NotPlaced) -> Problem:
    errors = [FieldError(field=wrong.field, message=wrong.message) for wrong in refused.wrong]
    told = [f"{one['field']}: {one['message']}" for one in errors[:_TOLD_MAX]] + ["and others"] * (len(errors) > _TOLD_MAX)
    return Problem(422, "Order cannot be placed", "; ".join(told), errors=errors)


def _answer(status: int, view: OrderView, headers: Mapping[str, str] | None = None) -> Response:
    location = {"Location": f"/v1/orders/{view.id}"}
    return Response(view.model_dump_json(), status, {**location, **(headers or {})}, media_type="application/json")


async def _view(scope: Scope, order_id: UUID) -> OrderView:
    order = await repository.find_order(scope, order_id)
    if order is None:
        raise _not_found(order_id)
    return OrderView.stored(order, (await repository.lines_of(scope, [order_id]))[order_id])


def _not_found(order_id: UUID) -> Problem:
    return Problem(404, "Unknown order", f"there is no order {order_id}; GET /v1/orders lists them")


async def _unless_gone(request: Request, wait: Coroutine[Any, Any, Order | None]) -> Order | None:
    """What the wait brings; None as soon as the client has closed its connection."""
    waiting, gone = asyncio.create_task(wait), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    # The body is read already: what comes next is the disconnect.
    while (await request.receive())["type"] != "http.disconnect":
        pass
