"""Many mixed orders of five tenants at once. The seed decides who orders what; what must come of it is known beforehand."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from contracts.values import OrderStatus, Rejection
from infra.dev.demo_client import Order, Retailer
from infra.dev.demo_stage import AMPLE, LIMITS, PATIENCE_S, Stage, settled

SEED: Final = 14
AT_ONCE: Final = 64
"""Orders that are on their way at the same time."""
COMPLETED_SHARE: Final = 0.1
SCARCE: Final = 40
"""Units of the truffle, ordered one by one."""
ORDERS_PER_MONTH: Final = 50
"""The quota of the tenant on the small plan."""

_PLENTY: Final = {"sourdough": (250, AMPLE), "oat-milk": (180, AMPLE), "cheddar": (425, AMPLE)}
_SHARES: Final = {"Northern Bakers": 30, "Harbour Deli": 25, "Truffle House": 20, "Corner Shop": 15, "Closed Kitchen": 10}


@dataclass(frozen=True)
class Wish:
    """One order that somebody is going to place."""

    tenant: str
    lines: Mapping[str, int]
    is_completed: bool


def wishes(count: int) -> list[Wish]:
    """The same `count` orders every time."""
    chance = random.Random(SEED)
    tenants = chance.choices(list(_SHARES), weights=list(_SHARES.values()), k=count)
    return [Wish(tenant, _lines(chance, tenant), chance.random() < COMPLETED_SHARE) for tenant in tenants]


def expected(wanted: list[Wish]) -> Counter[str]:
    """How many end in which way, whatever order they arrive in: the scarce SKU is ordered singly, the quota counts orders."""
    of = Counter(wish.tenant for wish in wanted)
    outcomes = Counter(
        {
            Rejection.OUT_OF_STOCK.value: max(0, of["Truffle House"] - SCARCE),
            Rejection.OVER_QUOTA.value: max(0, of["Corner Shop"] - ORDERS_PER_MONTH),
            Rejection.TENANT_SUSPENDED.value: of["Closed Kitchen"],
        }
    )
    outcomes["CONFIRMED"] = len(wanted) - outcomes.total()
    return +outcomes


async def gather_crowd(stage: Stage) -> dict[str, Retailer]:
    """The five tenants, fresh, with their shops."""
    crowd = {name: await stage.retailer(name, dict(_PLENTY)) for name in ("Northern Bakers", "Harbour Deli")}
    crowd["Truffle House"] = await stage.retailer("Truffle House", {"truffle": (3_900, SCARCE)})
    crowd["Corner Shop"] = await stage.retailer("Corner Shop", dict(_PLENTY), (ORDERS_PER_MONTH, LIMITS[1]))
    crowd["Closed Kitchen"] = await stage.retailer("Closed Kitchen", dict(_PLENTY))
    await stage.administrator.suspend(crowd["Closed Kitchen"].tenant_id)
    return crowd


async def play(stage: Stage, crowd: Mapping[str, Retailer], wanted: list[Wish], done: Callable[[], None]) -> list[Order]:
    """Place them all, AT_ONCE at a time, and complete some; `done` is called as each ends."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(wish: Wish) -> Order:
        async with room:
            order = await _play(stage, crowd[wish.tenant], wish)
        done()
        return order

    return list(await asyncio.gather(*map(one, wanted)))


def outcomes(orders: list[Order]) -> Counter[str]:
    """How many ended in which way; an order that is completed was confirmed."""
    return Counter(order.rejection.value if order.rejection else _confirmed(order.status) for order in orders)


async def _play(stage: Stage, retailer: Retailer, wish: Wish) -> Order:
    order = await retailer.order(dict(wish.lines), wait_s=int(PATIENCE_S))
    if not settled(order):
        order = await stage.follow(retailer, order.id)
    if wish.is_completed and order.status is OrderStatus.CONFIRMED:
        for verb in ("prepare", "ready", "complete"):
            order = await retailer.move(order.id, verb)
    return order


def _lines(chance: random.Random, tenant: str) -> dict[str, int]:
    if tenant == "Truffle House":
        return {"truffle": 1}
    return {sku: chance.randint(1, 5) for sku in sorted(chance.sample(list(_PLENTY), chance.randint(1, 3)))}


def _confirmed(status: OrderStatus) -> str:
    return "CONFIRMED" if status in (OrderStatus.CONFIRMED, OrderStatus.COMPLETED) else status.value
