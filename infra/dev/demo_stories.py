"""The stories that the demonstration tells and the system tests play: one function each, over HTTP and signals only.

Each makes its own tenants, so stories may be played in any order and on a platform that has data. A story that does not go as it
should raises Unexpected. Deadlines are shortened by settings of the processes, never by another code path.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from contracts.values import OrderStatus, Rejection
from infra.dev.demo_client import Order, Payment, Retailer, Stock, Usage, outcome_of
from infra.dev.demo_stage import PATIENCE_S, Stage, expect, until

Story = Callable[[Stage], Awaitable[None]]

SHORT_DEADLINES: Final = {"OAAS_DEADLINE_FACTOR": "0.1", "OAAS_SETTLE_MAX_S": "1"}
"""Reserving stock has 30 s to be answered; with this, 3 s."""
BRISK: Final = {"OAAS_RESEND_AFTER_S": "1", "OAAS_PAYMENT_TIMEOUT_S": "0.5"}
"""Nobody wants to watch a sweeper or a silent payment provider being waited for."""
NOTHING: Final = Usage(0, 0, 0, 0, 0)
CHARGES_AND_FALLS_SILENT: Final = "tok_charge_then_timeout"
_BREAD: Final = 250


async def order_confirmed(stage: Stage) -> None:
    """Confirmed, prepared, handed over: stock is consumed, quota is settled."""
    retailer = await stage.retailer("Crumb & Co", {"sourdough": (_BREAD, 10), "oat-milk": (180, 10)})
    order = await _place(stage, retailer, {"sourdough": 2, "oat-milk": 1})
    _expect_outcome(order, OrderStatus.CONFIRMED)
    expect(await retailer.stock("sourdough"), Stock(available=8, held=2, consumed=0, received=10), "sourdough of a confirmed order")
    for verb in ("prepare", "ready", "complete"):
        order = await retailer.move(order.id, verb)
        stage.say(f"{verb}: the order is {order.status}")
    pence = 2 * _BREAD + 180
    settled_usage = Usage(orders_held=0, orders_settled=1, pence_held=0, pence_settled=pence, pence_in_ledger=pence)
    await _until_stock(retailer, "sourdough", Stock(available=8, held=0, consumed=2, received=10))
    await _until_usage(stage, retailer, settled_usage)
    stage.say("2 of 10 sourdough are consumed, £6.80 are settled")


async def out_of_stock(stage: Stage) -> None:
    """Too little on the shelf: the order is rejected, its quota given back."""
    retailer = await stage.retailer("Empty Shelf", {"sourdough": (_BREAD, 3)})
    order = await _place(stage, retailer, {"sourdough": 4})
    _expect_outcome(order, OrderStatus.REJECTED, Rejection.OUT_OF_STOCK)
    expect(await stage.administrator.usage(retailer.tenant_id), NOTHING, "quota after a rejected order")
    stage.say("the quota holds nothing for it")


async def over_quota(stage: Stage) -> None:
    """The month's quota is used up: the order is rejected, its stock given back."""
    retailer = await stage.retailer("Small Plan", {"sourdough": (_BREAD, 10)}, limits=(1, 10_000))
    first = await retailer.order({"sourdough": 1}, wait_s=int(PATIENCE_S))
    _expect_outcome(first, OrderStatus.CONFIRMED)
    stage.say("the one order of the month is confirmed; here is the second")
    order = await _place(stage, retailer, {"sourdough": 5})
    _expect_outcome(order, OrderStatus.REJECTED, Rejection.OVER_QUOTA)
    expect(await retailer.stock("sourdough"), Stock(available=9, held=1, consumed=0, received=10), "stock after a rejected order")
    stage.say("its 5 sourdough are on the shelf again")


async def tenant_suspended(stage: Stage) -> None:
    """A suspended tenant still signs in; its orders are refused."""
    retailer = await stage.retailer("Late Payer", {"sourdough": (_BREAD, 10)})
    await stage.administrator.suspend(retailer.tenant_id)
    stage.say("the tenant is suspended")
    order = await _place(stage, retailer, {"sourdough": 1})
    _expect_outcome(order, OrderStatus.REJECTED, Rejection.TENANT_SUSPENDED)
    expect(await retailer.stock("sourdough"), Stock(available=10, held=0, consumed=0, received=10), "stock after a rejected order")
    expect(await stage.administrator.usage(retailer.tenant_id), NOTHING, "quota of a suspended tenant")
    stage.say("nothing is held")


async def order_cancelled(stage: Stage) -> None:
    """A confirmed order is cancelled by its client: a second saga gives everything back."""
    retailer = await stage.retailer("Second Thoughts", {"sourdough": (_BREAD, 10)})
    placed = await retailer.order({"sourdough": 4}, wait_s=int(PATIENCE_S))
    _expect_outcome(placed, OrderStatus.CONFIRMED)
    await retailer.cancel(placed.id, "ordered twice by mistake", wait_s=int(PATIENCE_S))
    order = await stage.follow(retailer, placed.id)
    _expect_outcome(order, OrderStatus.CANCELLED)
    expect(await retailer.stock("sourdough"), Stock(available=10, held=0, consumed=0, received=10), "stock of a cancelled order")
    expect(await stage.administrator.usage(retailer.tenant_id), NOTHING, "quota and ledger after a cancelled order")
    stage.say("10 of 10 sourdough are on the shelf, and the ledger has a refund beside its charge")


async def paid_by_card(stage: Stage) -> None:
    """The payment provider takes the money and never answers: it is asked what happened, and charges once."""
    retailer = await stage.retailer("Card Only", {"sourdough": (_BREAD, 10)})
    placed = await retailer.order({"sourdough": 2}, card=CHARGES_AND_FALLS_SILENT)
    stage.say("the card is at a provider that does what it is asked and then never answers")
    order = await stage.follow(retailer, placed.id)
    _expect_outcome(order, OrderStatus.CONFIRMED)
    expect(await retailer.payment(order.id), Payment("CAPTURED", 0, 2 * _BREAD), "the payment")
    stage.say("£5.00 are taken from the card, once")


async def inventory_down(stage: Stage) -> None:
    """Inventory is dead: silence undoes the order, and its late command does nothing."""
    retailer = await stage.retailer("Dark Depot", {"sourdough": (_BREAD, 10)})
    await asyncio.gather(stage.run("sagas", **SHORT_DEADLINES), stage.kill("inventory"))
    stage.say("inventory's worker is killed (SIGKILL) and stays down; its deadline is 3 s")
    placed = await retailer.order({"sourdough": 4})
    await until(lambda: stage.administrator.usage(retailer.tenant_id), lambda usage: usage.orders_held == 1, "a place in the quota")
    stage.say("the order has its place in the quota and waits for its stock")
    await _until_usage(stage, retailer, NOTHING)
    expect((await retailer.find(placed.id)).status, OrderStatus.PENDING, "the order while its undoing is not answered")
    stage.say("the deadline has passed: the quota is released, the order is still PENDING")
    await stage.run("inventory")
    stage.say("inventory is started again and finds both commands. The whole order:")
    order = await stage.follow(retailer, placed.id)
    _expect_outcome(order, OrderStatus.REJECTED, Rejection.NO_ANSWER)
    await _until_stock(retailer, "sourdough", Stock(available=10, held=0, consumed=0, received=10))
    stage.say("the late command had no effect: 10 of 10 sourdough are on the shelf")


async def coordinator_crash(stage: Stage) -> None:
    """The coordinator dies between commit and publish: its successor's sweeper sends."""
    retailer = await stage.retailer("Second Wind", {"sourdough": (_BREAD, 10)})
    await stage.run("sagas", OAAS_CRASH_AT="sagas:committed")
    pid = stage.pid("sagas")
    assert pid is not None
    placed = await retailer.order({"sourdough": 4})
    await stage.until_dead("sagas", pid)
    stage.say("the coordinator has killed itself; its commands are committed, not sent")
    await stage.run("sagas")
    stage.say("it is started again and finds them in the outbox. The whole order:")
    order = await stage.follow(retailer, placed.id)
    _expect_outcome(order, OrderStatus.CONFIRMED)
    expect(await retailer.stock("sourdough"), Stock(available=6, held=4, consumed=0, received=10), "stock of the order")
    stage.say("nothing was lost, nothing happened twice: 4 of 10 sourdough are held")


STORIES: Final[Mapping[str, Story]] = {
    "order confirmed": order_confirmed,
    "out of stock": out_of_stock,
    "over quota": over_quota,
    "tenant suspended": tenant_suspended,
    "order cancelled": order_cancelled,
    "paid by card": paid_by_card,
    "inventory down": inventory_down,
    "coordinator crash": coordinator_crash,
}


async def _place(stage: Stage, retailer: Retailer, lines: dict[str, int]) -> Order:
    placed = await retailer.order(lines)
    asked = ", ".join(f"{quantity} {sku}" for sku, quantity in lines.items())
    stage.say(f"{retailer.name} orders {asked}: accepted, {placed.status}")
    return await stage.follow(retailer, placed.id)


def _expect_outcome(order: Order, status: OrderStatus, rejection: Rejection | None = None) -> None:
    expect(order.outcome, outcome_of(status, rejection), f"order {order.id}")


async def _until_stock(retailer: Retailer, sku: str, wanted: Stock) -> None:
    await until(lambda: retailer.stock(sku), lambda seen: seen == wanted, f"{sku} to become {wanted}")


async def _until_usage(stage: Stage, retailer: Retailer, wanted: Usage) -> None:
    await until(lambda: stage.administrator.usage(retailer.tenant_id), lambda seen: seen == wanted, f"the quota to become {wanted}")
