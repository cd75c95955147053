"""Orders over HTTP, placed and read: request -> use case -> status. No decisions; services/orders/moving.py moves them.

An order of another tenant answers like one that does not exist.
"""

import re
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import VISIBLE_ASCII, OrderStatus
from infra.backlog import Backlog, TooMuch, backlog_of, room_in
from infra.http import FieldError, Problem, decode_cursor, encode_cursor
from infra.http.auth import Caller, caller_with
from infra.http.direct import Direct, Headers, directly
from infra.settings import Settings
from infra.transaction import Transactions
from services.orders import repository
from services.orders.answering import FINAL, Answering, Prefer, view_of
from services.orders.idempotency import KeyReused, claim
from services.orders.moving import add_moves
from services.orders.placing import Placing
from services.orders.use_cases import NotPlaced
from services.orders.views import NewOrder, OrderPage, OrderView

Reader = Annotated[Caller, Depends(caller_with("orders:read", "orders:write"))]
Writer = Annotated[Caller, Depends(caller_with("orders:write"))]
_TOLD_MAX: Final = 5
"""Wrong fields that `detail` repeats; `errors` has them all."""
_KEY: Final = b"idempotency-key"
_VISIBLE: Final = re.compile(rb"[!-~]{1,255}")
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


def router(transaction: Transactions, settings: Settings, sweeper_pool: AsyncEngine | None = None) -> APIRouter:
    """The routes of orders, on the given way to its database. With the sweeper's pool it takes in no more than can be done."""
    routes = APIRouter(prefix="/v1")
    answering = Answering(transaction, settings.wait_max_s)
    placing = Placing(transaction, settings.projection_patience_s, settings.commit_requests_max)
    _placing(routes, placing, answering, None if sweeper_pool is None else backlog_of(sweeper_pool, settings))
    _reading(routes, transaction)
    add_moves(routes, transaction, answering)
    return routes


def _placing(routes: APIRouter, placing: Placing, answering: Answering, backlog: Backlog | None) -> None:
    @routes.post("/orders", status_code=202, response_model=OrderView, responses=FINAL)
    async def place_order(
        caller: Writer, body: NewOrder, request: Request, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
    ) -> Response:
        try:
            async with room_in(backlog, caller.tenant_id) as taken_in:
                placed = await placing.place(caller.tenant_id, body.asked(), claim(idempotency_key, body))
                if isinstance(placed, OrderView):
                    taken_in()
        except TooMuch as much:
            raise _come_again(much) from much
        except KeyReused as reused:
            raise Problem(422, "Idempotency-Key reused", f"{reused}; send a new key for a new order") from reused
        if isinstance(placed, NotPlaced):
            raise _cannot_place(placed)
        return await answering.when_final(request, caller.tenant_id, placed, prefer)

    async def at_once(request: Request, caller: Caller, body: NewOrder, headers: Headers) -> Response | None:
        key = headers.get(_KEY)
        if key is not None and not _VISIBLE.fullmatch(key):
            return None
        return await place_order(caller, body, request, None if key is None else key.decode("ascii"))

    directly(place_order, Direct(NewOrder, "orders:write", headers=(_KEY,), unknown=(b"prefer",), serve=at_once))


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
            return await view_of(scope, order_id)


def _come_again(much: TooMuch) -> Problem:
    headers = {"Retry-After": str(much.retry_after_s)}
    if much.tenant:
        detail = f"So many of the tenant's orders are under way that it has to wait: try again in {much.retry_after_s} s"
        return Problem(429, "Too many orders", detail, headers=headers)
    detail = f"So many orders are under way that no more are taken now; nothing is lost: try again in {much.retry_after_s} s"
    return Problem(503, "Too busy", detail, headers=headers)


def _cannot_place(refused: NotPlaced) -> Problem:
    errors = [FieldError(field=wrong.field, message=wrong.message) for wrong in refused.wrong]
    told = [f"{one['field']}: {one['message']}" for one in errors[:_TOLD_MAX]] + ["and others"] * (len(errors) > _TOLD_MAX)
    return Problem(422, "Order cannot be placed", "; ".join(told), errors=errors)
