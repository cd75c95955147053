"""A platform that is busy and well: whenever its books are compared, nothing is wrong; and the desk's worker compares them itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import pytest

from contracts.inventory import ProductListed, ShopOpened
from contracts.messages import Event
from contracts.values import OrderId, OrderLine, TenantId, VatRate
from infra import clock
from infra.reconcile import open_keepers
from infra.transaction import Transactions
from services.ops.books.comparing import Comparing
from services.orders import repository, use_cases
from services.orders.consumers import HANDLES as ORDERS_HANDLES
from services.orders.order import IllegalTransition, Order
from services.orders.placing import Placing
from services.orders.use_cases import AskedOrder
from services.orders.views import OrderView
from services.tenants.repository import add_tenant
from tests.conformance.places import decide, envelope, new_tenant, shop_of
from tests.integration.messaging import Stage, a_tenant, parts, until
from tests.integration.workers import WorkerProcess, oaas_worker, worker_process

BUSY_S: Final = 8.0
ORDERS_MIN: Final = 100
GRACE_S: Final = 4.0
SKU: Final = "APPLE"


@dataclass(frozen=True)
class Busy:
    """All services in a process of their own, whose desk compares the books often."""

    stage: Stage
    worker: WorkerProcess

    def rounds(self) -> int:
        """How often the desk has compared all books."""
        return self.worker.log.read_text().count("tenants are compared")

    async def until(self, is_so: Callable[[], Awaitable[bool]], otherwise: Callable[[], str]) -> None:
        """Poll until it is so; fails if the desk has gone round without it. How long that takes depends on how many tenants there are."""
        # The one under way may have passed the tenant already.
        end = self.rounds() + 2
        while True:
            # Before it is looked: what a round has found is there before the round is over.
            rounds = self.rounds()
            if await is_so():
                return
            assert rounds < end, otherwise()
            await asyncio.sleep(0.05)


@pytest.fixture
async def busy(stage: Stage, tmp_path: Path) -> AsyncIterator[Busy]:
    often = {"OAAS_RECONCILE_EVERY_S": "2", "OAAS_RECONCILE_GRACE_S": "1"}
    services = oaas_worker("tenants", "inventory", "orders", "payments", "sagas", "ops")
    async with worker_process(services, stage.settings, tmp_path, **often) as worker:
        yield Busy(stage, worker)


async def an_open_shop(stage: Stage, orders: Transactions) -> TenantId:
    async with parts(stage.settings) as inventory, parts(stage.settings, "tenants") as tenants:
        tenant_id = await a_tenant(inventory.transaction, **{SKU: 300})
        async with tenants.transaction(tenant_id) as scope:
            await add_tenant(scope, new_tenant(scope, 500, 1_000_000))
    known = [
        ShopOpened(shop_id=shop_of(tenant_id), name="Shop"),
        ProductListed(sku=SKU, version=1, name=SKU, price_pence=100, vat_rate=VatRate.STANDARD),
    ]
    async with orders(tenant_id) as scope:
        await decide(scope, ORDERS_HANDLES[1], [envelope(tenant_id, message) for message in known])
    return tenant_id


async def live(orders: Transactions, tenant_id: TenantId, random: Random) -> int:
    """Orders are placed, completed and cancelled for a while, at least ORDERS_MIN; how many."""
    placed: list[OrderId] = []
    end = asyncio.get_running_loop().time() + BUSY_S
    while asyncio.get_running_loop().time() < end or len(placed) < ORDERS_MIN:
        asked = AskedOrder(shop_of(tenant_id), (OrderLine(sku=SKU, quantity=random.randint(1, 3)),))
        view = await Placing(orders).place(tenant_id, asked)
        assert isinstance(view, OrderView)
        placed.append(OrderId(view.id))
        if random.random() < 0.5:
            await move(orders, tenant_id, random.choice(placed), random.random() < 0.5)
        await asyncio.sleep(0.01)
    return len(placed)


async def move(orders: Transactions, tenant_id: TenantId, order_id: OrderId, cancels: bool) -> None:
    """Somebody completes or cancels the order, if that is possible now."""

    def moved(order: Order) -> Event | None:
        if cancels:
            return use_cases.cancel_order(order, "changed my mind")
        use_cases.prepare_order(order)
        use_cases.ready_order(order)
        return use_cases.complete_order(order)

    async with orders(tenant_id) as scope:
        book = await repository.lock_orders(scope, [order_id])
        order = book.find(order_id)
        try:
            event = moved(order)
        except IllegalTransition:
            return
        await repository.save_orders(scope, book)
        if event is not None:
            scope.send(event, subject=str(order_id), sequence=order.revision)


async def test_whenever_the_books_of_a_busy_platform_are_compared_nothing_is_wrong(busy: Busy) -> None:
    settings = busy.stage.settings
    ages = settings.model_copy(update={"reconcile_grace_s": GRACE_S})
    async with parts(settings, "orders") as orders, parts(settings, "ops") as ops, open_keepers(ages) as keepers:
        tenant_id = await an_open_shop(busy.stage, orders.transaction)
        comparing, times, told = Comparing(keepers, ops.transaction, ages), 0, list[tuple[str, str]]()
        living = asyncio.create_task(live(orders.transaction, tenant_id, Random(7)))
        while not living.done():
            found = await comparing.compare(tenant_id, clock.now())
            told += [(one.kind, one.what) for one in found.findings]
            times += 1
            await asyncio.sleep(0.2)
        placed = await living
        last = await comparing.compare(tenant_id, clock.now())

        async def at_rest() -> bool:
            nonlocal last
            last = await comparing.compare(tenant_id, clock.now())
            told.extend((one.kind, one.what) for one in last.findings)
            return not last.moving

        await until(at_rest, lambda: f"{len(last.moving)} orders are still moving")
    assert told == []
    assert times > 5
    assert last.orders == placed


async def test_the_desks_worker_finds_what_is_wrong_by_itself(busy: Busy) -> None:
    stage = busy.stage
    async with parts(stage.settings, "orders") as orders:
        tenant_id = await an_open_shop(stage, orders.transaction)
    await stage.administrator.execute("UPDATE inventory.stock SET held = 1, available = available - 1 WHERE tenant_id = $1", tenant_id)

    async def is_found() -> bool:
        return await stage.rows("SELECT 1 FROM ops.finding WHERE tenant_id = $1 AND gone_at IS NULL", tenant_id) != []

    await busy.until(is_found, lambda: "nothing was found")
    await stage.administrator.execute("UPDATE inventory.stock SET held = 0, available = available + 1 WHERE tenant_id = $1", tenant_id)

    async def is_gone() -> bool:
        return not await is_found()

    await busy.until(is_gone, lambda: "it is still told")
