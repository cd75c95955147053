"""All services on a real database with a broker in this process that loses nothing, delivers at once, and can be told to lose a message."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import httpx
import uvicorn
from prometheus_client import CollectorRegistry

from contracts.addresses import Address, bindings
from contracts.inventory import ProductListed, ShopOpened
from contracts.messages import Envelope, Event
from contracts.values import OrderId, OrderLine, PaymentToken, TenantId, VatRate
from infra.batch import Batches
from infra.database import open_pool
from infra.dev.ports import LOOPBACK, kept_port
from infra.frames import read_envelope
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.outbox import Outgoing
from infra.reconcile import KEEPERS
from infra.service import Running
from infra.services import load
from infra.settings import Settings
from infra.token import ensure_development_key
from infra.transaction import Transactions
from sagas import ops_api as sagas_ops_api
from services.ops import ops_api
from services.orders import repository, use_cases
from services.orders.consumers import HANDLES as ORDERS_HANDLES
from services.orders.order import Order
from services.orders.placing import Placing
from services.orders.use_cases import AskedOrder
from services.orders.views import OrderView
from services.payments.calling import Calls
from services.payments.provider import Call, Done, Outcome
from services.tenants.repository import add_tenant
from tests.conformance.places import add_stock, decide, envelope, new_tenant, opened, shop_of
from tests.integration.serving import Api

SKU: Final = "APPLE"
PRICE_PENCE: Final = 100
UNITS: Final = 100
_SERVICES: Final = {
    address: sorted({one.queue.split(".")[0] for one in bindings() if Address(one.exchange, one.routing_key) == address})
    for address in {Address(one.exchange, one.routing_key) for one in bindings()}
}
"""Who hears what is published there."""


class Till:
    """A payment provider that does what it is asked."""

    async def call(self, call: Call, metadata: dict[str, str]) -> Outcome:  # noqa: ARG002 - the port's shape
        return Done(f"till {call.payment_id}")

    async def ask(self, key: str) -> Outcome | None:  # noqa: ARG002 - the port's shape
        return None


@dataclass
class Town:
    """One tenant with a shop, and every service. `administrator` sees and changes everything."""

    settings: Settings
    transactions: dict[str, Transactions]
    administrator: asyncpg.Connection
    api: Api
    calls: Calls
    waiting: list[Outgoing]
    batches: dict[str, Batches]
    base_url: str
    tenant_id: TenantId = field(default_factory=lambda: TenantId(uuid4()))
    lost: Callable[[Envelope], bool] = lambda _: False

    def of_another_tenant(self) -> "Town":
        self.waiting.clear()
        return Town(self.settings, self.transactions, self.administrator, self.api, self.calls, self.waiting, self.batches, self.base_url)

    async def open(self) -> "Town":
        """A tenant who may order, and a shop with UNITS of SKU."""
        async with self.transactions["tenants"](self.tenant_id) as scope:
            await add_tenant(scope, new_tenant(scope, 1_000, 1_000_000))
        async with self.transactions["inventory"](self.tenant_id) as scope:
            await add_stock(scope, shop_of(self.tenant_id), {SKU: UNITS})
        known = [
            ShopOpened(shop_id=shop_of(self.tenant_id), name="Shop"),
            ProductListed(sku=SKU, version=1, name=SKU, price_pence=PRICE_PENCE, vat_rate=VatRate.ZERO),
        ]
        async with self.transactions["orders"](self.tenant_id) as scope:
            await decide(scope, ORDERS_HANDLES[1], [envelope(self.tenant_id, message) for message in known])
        return self

    async def place(self, quantity: int = 1, card: str | None = None) -> OrderId:
        """An order, and everything that follows from it."""
        asked = AskedOrder(shop_of(self.tenant_id), (OrderLine(sku=SKU, quantity=quantity),), card and PaymentToken(card))
        view = await Placing(self.transactions["orders"]).place(self.tenant_id, asked)
        assert isinstance(view, OrderView), view
        await self.settle()
        return OrderId(view.id)

    async def move(self, order_id: OrderId, *moves: Callable[[Order], Event | None]) -> None:
        """People move the order, as over HTTP."""
        async with self.transactions["orders"](self.tenant_id) as scope:
            book = await repository.lock_orders(scope, [order_id])
            order = book.find(order_id)
            events = [event for move in moves if (event := move(order)) is not None]
            await repository.save_orders(scope, book)
            for event in events:
                scope.send(event, subject=str(order_id), sequence=order.revision)
        await self.settle()

    async def complete(self, order_id: OrderId) -> None:
        await self.move(order_id, use_cases.prepare_order, use_cases.ready_order, use_cases.complete_order)

    async def cancel(self, order_id: OrderId) -> None:
        await self.move(order_id, lambda order: use_cases.cancel_order(order, "changed my mind"))

    async def settle(self) -> None:
        """Deliver until nothing moves any more."""
        while self.waiting or await self._pay():
            outgoing, self.waiting[:] = list(self.waiting), []
            for one in outgoing:
                received = read_envelope(json.loads(one.body))
                for service in _SERVICES.get(one.address, ()):
                    if service in self.batches and not self.lost(received):
                        await self.batches[service].commit([received])
        for service in KEEPERS:
            await self.administrator.execute(f"DELETE FROM {service}.outbox WHERE tenant_id = $1", self.tenant_id)

    async def sweep(self) -> None:
        """Deliver what mends have left in the outboxes."""
        for service in KEEPERS:
            query = f"SELECT id FROM {service}.outbox WHERE tenant_id = $1 AND due_at > now()"
            ids = [str(row["id"]) for row in await self.administrator.fetch(query, self.tenant_id)]
            async with self.transactions[service](self.tenant_id) as scope:
                self.waiting += await self.transactions[service].outbox.read(scope.connection, self.tenant_id, ids)
        await self.settle()

    async def age(self, by: timedelta = timedelta(hours=1)) -> None:
        """Everything in the tenant's books happened so much earlier."""
        for table, columns in _DATED.items():
            moved = ", ".join(f"{column} = {column} - $2::interval" for column in columns)
            await self.administrator.execute(f"UPDATE {table} SET {moved} WHERE tenant_id = $1", self.tenant_id, by)

    async def corrupt(self, statement: str, *arguments: object) -> None:
        """What no service would do, in the tenant."""
        done = await self.administrator.execute(statement, self.tenant_id, *arguments)
        assert not done.endswith(" 0"), f"{statement} changed nothing"

    async def state(self, table: str, column: str, order_id: UUID) -> object:
        return await self.administrator.fetchval(
            f"SELECT {column} FROM {table} WHERE tenant_id = $1 AND order_id = $2", self.tenant_id, order_id
        )

    async def _pay(self) -> bool:
        query = "SELECT order_id FROM payments.payment WHERE tenant_id = $1 AND due_at <= now()"
        due = [OrderId(row["order_id"]) for row in await self.administrator.fetch(query, self.tenant_id)]
        for order_id in due:
            await self.calls._bring_about(self.tenant_id, order_id)
        return bool(due)


_DATED: Final = {
    "orders.customer_order": ("created_at", "changed_at"),
    "inventory.stock_hold": ("changed_at",),
    "inventory.stock": ("changed_at",),
    "tenants.quota_hold": ("changed_at",),
    "tenants.quota": ("changed_at",),
    "payments.payment": ("changed_at",),
    "sagas.saga": ("changed_at",),
}


@asynccontextmanager
async def a_town(settings: Settings, home: Path) -> AsyncIterator[Town]:
    """Every service, and the desk's routes in this process and on a port."""
    async with AsyncExitStack() as stack:
        waiting: list[Outgoing] = []
        transactions = {
            service: await stack.enter_async_context(opened(settings, service, lambda outgoing: waiting.extend(outgoing)))
            for service in (*KEEPERS, "ops")
        }
        batches = {one.name: Batches(transactions[one.name], one.handles(settings)) for one in load([*KEEPERS])}
        sweeper = open_pool(settings, "ops", "sweeper", 2)
        stack.push_async_callback(sweeper.dispose)
        administrator = await asyncpg.connect(settings.postgres_url)
        stack.push_async_callback(administrator.close)
        verifier = Verifier(str(ensure_development_key(home)), settings.issuer, settings.audience)
        sagas = open_pool(settings, "sagas", "sweeper", 2)
        stack.push_async_callback(sagas.dispose)
        routers = {
            "operators": ops_api.router(transactions["ops"], sweeper, settings),
            "sagas operators": sagas_ops_api.router(transactions["sagas"], sagas, settings),
        }
        app = create_app("test", routers, verifier=verifier, registry=CollectorRegistry())
        client = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test"))
        port = kept_port(home / "port")
        server = uvicorn.Server(uvicorn.Config(app, host=LOOPBACK, port=port, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        stack.push_async_callback(_stop, server, serving)
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        running = Running(transactions["payments"], (), sweeper, settings, _no_backlog)
        api = Api(client, settings, transactions["ops"], [], home)
        yield Town(settings, transactions, administrator, api, Calls(running, Till()), waiting, batches, f"http://{LOOPBACK}:{port}")


async def _stop(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await serving


async def _no_backlog(_queue: str) -> int:
    return 0
