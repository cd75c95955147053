"""Placing orders: load, decide, record; what arrives at the same time in one transaction, a tenant's requests together.

Shops and products reach orders as events. A client that orders a product it has just listed may be faster than they are, so
an unknown one is looked for again, for a bounded time and with no transaction open in between.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contracts.values import OrderId, TenantId
from infra.gathering import Gathering
from infra.identifiers import uuid7
from infra.telemetry import current_traceparent
from infra.transaction import Scope, Transactions
from services.orders.idempotency import Claim, KeyReused
from services.orders.placing_repository import Answered, Known, load, save
from services.orders.use_cases import AskedOrder, NotPlaced, place_order
from services.orders.views import OrderView

LOOK_AGAIN_S: Final = 0.025
"""First pause before looking again; doubles each time."""


@dataclass(frozen=True, slots=True)
class Request:
    """One client's order, and the journey that it begins."""

    asked: AskedOrder
    claim: Claim | None = None
    traceparent: str | None = None


class Placing:
    """The orders that are placed at one process; at most `requests_max` of them share a commit."""

    def __init__(self, transaction: Transactions, patience_s: float = 0, requests_max: int = 1) -> None:
        self._gathering: Gathering[Request, OrderView | NotPlaced | KeyReused] = Gathering(transaction, place_all, requests_max)
        self._patience_s = patience_s

    async def place(self, tenant_id: TenantId, asked: AskedOrder, claim: Claim | None = None) -> OrderView | NotPlaced:
        """The order as it is answered, of the first request if the key is claimed already. Raises KeyReused."""
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + self._patience_s, LOOK_AGAIN_S
        request = Request(asked, claim, current_traceparent())
        while True:
            outcome = await self._gathering.ask(tenant_id, request)
            if isinstance(outcome, KeyReused):
                raise outcome
            left_s = deadline - loop.time()
            if isinstance(outcome, OrderView) or not outcome.may_become_known or left_s <= 0:
                return outcome
            await asyncio.sleep(min(pause_s, left_s))
            pause_s *= 2


async def place_all(scope: Scope, requests: Sequence[Request]) -> list[OrderView | NotPlaced | KeyReused]:
    """What becomes of each of one tenant's requests, in their order; those that are placed are written with the scope."""
    keys = {request.claim.key for request in requests if request.claim is not None}
    skus = {line.sku for request in requests for line in request.asked.lines}
    known = await load(scope, keys, {request.asked.shop_id for request in requests}, skus)
    group = _Group(scope, known)
    outcomes = [group.place(request) for request in requests]
    save(scope, group.placed)
    return outcomes


class _Group:
    """One tenant's requests as they are decided, one after the other: each sees what those before it have claimed."""

    def __init__(self, scope: Scope, known: Known) -> None:
        self._scope = scope
        self._known = known
        self._claimed = dict(known.answers)
        self.placed: list[Answered] = []

    def place(self, request: Request) -> OrderView | NotPlaced | KeyReused:
        claim, asked, now = request.claim, request.asked, self._scope.now
        if claim is not None and claim.key in self._claimed:
            fingerprint, answer = self._claimed[claim.key]
            return OrderView.model_validate_json(answer) if fingerprint == claim.fingerprint else KeyReused(claim.key)
        order = place_order(asked, self._known.shops.get(asked.shop_id), self._known.products, OrderId(uuid7(now)), now)
        if isinstance(order, NotPlaced):
            return order
        view = OrderView.placed(order)
        answer = view.model_dump_json()
        if claim is not None:
            self._claimed[claim.key] = claim.fingerprint, answer
        self.placed.append(Answered(order, claim, answer))
        self._scope.send(order.placed, subject=str(order.order_id), sequence=1, traceparent=request.traceparent)
        return view
