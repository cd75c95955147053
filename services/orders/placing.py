"""Placing an order: load, decide, record, in one transaction; a few times if what is missing may still arrive.

Shops and products reach orders as events. A client that orders a product it has just listed may be faster than they are, so
an unknown one is looked for again, for a bounded time and with no transaction open in between.
"""

import asyncio
from typing import Final

from contracts.values import OrderId, TenantId
from infra.identifiers import uuid7
from infra.transaction import Scope, Transactions
from services.orders import repository
from services.orders.idempotency import Claim, remember, remembered
from services.orders.use_cases import AskedOrder, NotPlaced, place_order
from services.orders.views import OrderView

LOOK_AGAIN_S: Final = 0.025
"""First pause before looking again; doubles each time."""


async def place(
    transaction: Transactions, tenant_id: TenantId, asked: AskedOrder, claim: Claim | None, patience_s: float
) -> OrderView | NotPlaced:
    """The order as it is answered, of the first request if the key is claimed already. Raises KeyReused."""
    loop = asyncio.get_running_loop()
    deadline, pause_s = loop.time() + patience_s, LOOK_AGAIN_S
    while True:
        async with transaction(tenant_id) as scope:
            outcome = await _attempt(scope, asked, claim)
        left_s = deadline - loop.time()
        if isinstance(outcome, OrderView) or not outcome.may_become_known or left_s <= 0:
            return outcome
        await asyncio.sleep(min(pause_s, left_s))
        pause_s *= 2


async def _attempt(scope: Scope, asked: AskedOrder, claim: Claim | None) -> OrderView | NotPlaced:
    if claim is not None and (answer := await remembered(scope, claim)) is not None:
        return OrderView.model_validate_json(answer)
    shop = await repository.find_shop(scope, asked.shop_id)
    products = await repository.find_products(scope, (line.sku for line in asked.lines))
    order = place_order(asked, shop, products, OrderId(uuid7(scope.now)), scope.now)
    if isinstance(order, NotPlaced):
        return order
    view = OrderView.placed(order)
    if claim is not None:
        # The key before the order: a second request with it waits here, and then writes no order of its own.
        answer = await remember(scope, claim, order.order_id, view.model_dump_json())
        if (first := OrderView.model_validate_json(answer)).id != view.id:
            return first
    await repository.add_order(scope, order)
    scope.send(order.placed, subject=str(order.order_id), sequence=1)
    return view
