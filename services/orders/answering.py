"""What a client is told about an order: at once, or as soon as it is final (`Prefer: wait`)."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Header, Request, Response

from contracts.values import OrderId, OrderStatus, TenantId
from infra.http import Problem
from infra.transaction import Scope, Transactions
from services.orders import repository
from services.orders.order import Order
from services.orders.preferences import wait_s
from services.orders.views import OrderView
from services.orders.waiting import Waiting

Prefer = Annotated[list[str] | None, Header(description="`wait=5` waits up to 5 seconds for the final order (RFC 7240)")]
FINAL: Final[dict[int | str, dict[str, Any]]] = {200: {"model": OrderView, "description": "Final order"}}
_UNDER_WAY: Final = (OrderStatus.PENDING, OrderStatus.CANCELLING)


class Answering:
    """Answers requests that start something: 202, or 200 with the final order if the client waits for it or it is final already."""

    def __init__(self, transaction: Transactions, wait_max_s: float) -> None:
        self._waiting = Waiting(transaction)
        self._wait_max_s = wait_max_s

    async def when_final(self, request: Request, tenant_id: TenantId, view: OrderView, prefer: list[str] | None) -> Response:
        """The answer to a request after which the order looks like `view`; it is committed."""
        granted_s = wait_s(prefer or (), self._wait_max_s)
        applied = {} if granted_s is None else {"Preference-Applied": f"wait={granted_s}"}
        if view.status not in _UNDER_WAY:
            return _answer(200, view, applied)
        if granted_s is None:
            return _answer(202, view, applied)
        order = await _unless_gone(request, self._waiting.settled(tenant_id, OrderId(view.id), granted_s))
        return _answer(202, view, applied) if order is None else _answer(200, view.moved_to(order), applied)


async def view_of(scope: Scope, order_id: UUID) -> OrderView:
    """The order as it is now; raises a Problem if the tenant has none such."""
    order = await repository.find_order(scope, order_id)
    if order is None:
        raise unknown_order(order_id)
    return OrderView.stored(order, (await repository.lines_of(scope, [order_id]))[order_id])


def unknown_order(order_id: UUID) -> Problem:
    """Another tenant's order is told like one that does not exist."""
    return Problem(404, "Unknown order", f"there is no order {order_id}; GET /v1/orders lists them")


def _answer(status: int, view: OrderView, headers: Mapping[str, str]) -> Response:
    location = {"Location": f"/v1/orders/{view.id}"}
    return Response(view.model_dump_json(), status, {**location, **headers}, media_type="application/json")


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
