"""Moving an order over HTTP: people prepare, hand over, accept, decline and cancel it. No decisions.

Each locks the order's row, decides, saves and announces in one transaction: of two at once, the second sees what the first has done.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from contracts.messages import Event
from contracts.values import OrderId, OrderStatus, TenantId
from infra.http import Problem
from infra.http.auth import Caller, caller_with
from infra.transaction import Transactions
from services.orders import repository, use_cases
from services.orders.answering import FINAL, Answering, Prefer, unknown_order, view_of
from services.orders.order import IllegalTransition, NotAwaitingAcceptance, Order, UnknownOrder
from services.orders.views import Cancelling, OrderView

Writer = Annotated[Caller, Depends(caller_with("orders:write"))]
Move = Callable[[Order], Event | None]

MOVES: Final[Mapping[str, Move]] = {
    "prepare": use_cases.prepare_order,
    "ready": use_cases.ready_order,
    "complete": use_cases.complete_order,
    "accept": use_cases.accept_order,
    "decline": use_cases.decline_order,
}
LEADS_TO: Final[Mapping[str, OrderStatus]] = {
    "prepare": OrderStatus.PREPARING,
    "ready": OrderStatus.READY,
    "complete": OrderStatus.COMPLETED,
    "cancel": OrderStatus.CANCELLING,
}
_BEGUN: Final = "the shop has begun with it, and only a PENDING or CONFIRMED order can be cancelled"
_BECAUSE: Final[Mapping[tuple[OrderStatus, OrderStatus], str]] = {
    (OrderStatus.PREPARING, OrderStatus.CANCELLING): _BEGUN,
    (OrderStatus.READY, OrderStatus.CANCELLING): _BEGUN,
}
_STANDING: Final[Mapping[OrderStatus, str]] = {
    OrderStatus.PENDING: "it is still being decided, wait until it is CONFIRMED",
    OrderStatus.CANCELLING: "it is being cancelled",
}


def add_moves(routes: APIRouter, transaction: Transactions, answering: Answering) -> None:
    """The routes that move an order that was placed."""
    for verb, move in MOVES.items():
        routes.add_api_route(f"/orders/{{order_id}}/{verb}", _moving(transaction, move), methods=["POST"], name=f"{verb}_order")

    @routes.post("/orders/{order_id}/cancel", status_code=202, response_model=OrderView, responses=FINAL)
    async def cancel_order(caller: Writer, order_id: UUID, body: Cancelling, request: Request, prefer: Prefer = None) -> Response:
        """A PENDING or CONFIRMED order becomes CANCELLING, and CANCELLED once everything is given back. Again it is answered alike."""
        view = await _moved(transaction, caller.tenant_id, order_id, lambda order: use_cases.cancel_order(order, body.reason))
        return await answering.when_final(request, caller.tenant_id, view, prefer)


def _moving(transaction: Transactions, move: Move) -> Callable[..., Coroutine[Any, Any, OrderView]]:
    async def move_order(caller: Writer, order_id: UUID) -> OrderView:
        return await _moved(transaction, caller.tenant_id, order_id, move)

    return move_order


async def _moved(transaction: Transactions, tenant_id: TenantId, order_id: UUID, move: Move) -> OrderView:
    """The order after the move, committed; raises a Problem that says why not."""
    try:
        async with transaction(tenant_id) as scope:
            book = await repository.lock_orders(scope, [OrderId(order_id)])
            order = book.find(OrderId(order_id))
            event = move(order)
            await repository.save_orders(scope, book)
            if event is not None:
                scope.send(event, subject=str(order_id), sequence=order.revision)
            await scope.written()
            return await view_of(scope, order_id)
    except UnknownOrder as unknown:
        raise unknown_order(order_id) from unknown
    except IllegalTransition as illegal:
        raise Problem(409, "Illegal transition", f"{illegal}; {_legal(illegal)}") from illegal
    except NotAwaitingAcceptance as settled:
        raise Problem(409, "Not awaiting acceptance", str(settled)) from settled


def _legal(illegal: IllegalTransition) -> str:
    verbs = [f"POST /v1/orders/{illegal.order_id}/{verb}" for verb, status in LEADS_TO.items() if status in illegal.legal]
    because = _BECAUSE.get((illegal.status, illegal.wanted)) or _STANDING.get(illegal.status)
    if not verbs:
        return f"legal now: none of {', '.join(LEADS_TO)}: {because or 'its way has ended'}"
    return "; ".join([f"legal now: {', '.join(verbs)}", *([because] if because else [])])
