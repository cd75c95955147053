"""A broker and a database of their own for tests about messages: nobody else publishes, consumes or sweeps here."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
from aio_pika.abc import AbstractIncomingMessage

from contracts.addresses import Address, queues
from contracts.catalog import name_of
from contracts.inventory import ReserveStock
from contracts.messages import Envelope, Message
from contracts.policies import policies
from contracts.values import OrderId, OrderLine, SagaId, ShopId, TenantId
from infra import clock
from infra.broker import close, connect, open_broker
from infra.database import open_pool
from infra.frames import CONTENT_TYPE, encode
from infra.outbox import Outbox, Outgoing
from infra.relay import Relay
from infra.service import Service
from infra.services import MODULES
from infra.settings import Settings
from infra.topology import topology
from infra.transaction import HandOver, Transactions
from infra.unscoped.due import ConfirmedRows
from infra.worker import Worker
from tests.conformance.places import add_stock, shop_of

WAIT_S: Final = 20.0
COMMANDS: Final = Address("sagas.commands", "inventory.commands.0")
REPLIES: Final = "sagas.replies.0"


@dataclass(frozen=True)
class Stage:
    """`client` publishes and reads as if it were another service; `administrator` sees every tenant."""

    settings: Settings
    client: aio_pika.abc.AbstractChannel
    administrator: asyncpg.Connection

    async def empty(self) -> None:
        """No message in any queue, no row in any outbox, every policy as it should be."""
        await asyncio.gather(*(self._purge(name) for name in queues()))
        for service in MODULES:
            await self.administrator.execute(f"TRUNCATE {service}.outbox")
        live = {policy["name"] for policy in await self.management("GET", f"/api/policies/{self.vhost}")}
        for name in live - set(policies()):
            await self.management("DELETE", f"/api/policies/{self.vhost}/{name}")
        await topology.apply(self.settings)

    async def _purge(self, name: str) -> None:
        await (await self.client.get_queue(name, ensure=False)).purge()

    @property
    def vhost(self) -> str:
        return quote(httpx.URL(self.settings.rabbitmq_url).path.removeprefix("/"), safe="")

    async def management(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What RabbitMQ's management API answers."""
        async with httpx.AsyncClient(base_url=self.settings.rabbitmq_management_url, timeout=10) as client:
            answer = await client.request(method, path, json=body)
            answer.raise_for_status()
            return answer.json() if answer.content else None

    async def publish(self, address: Address, *envelopes: Envelope | str, headers: dict[str, Any] | None = None) -> None:
        """One frame with these envelopes, or with text that is none."""
        bodies = [one if isinstance(one, str) else one.model_dump_json(exclude_none=True) for one in envelopes]
        exchange = await self.client.get_exchange(address.exchange, ensure=False)
        message = aio_pika.Message(encode(bodies), content_type=CONTENT_TYPE, message_id=str(uuid4()), headers=headers)
        await exchange.publish(message, address.routing_key)

    async def read(self, queue: str, count: int) -> list[AbstractIncomingMessage]:
        """The next frames of the queue, until they hold at least `count` envelopes, acked; waits for them."""
        found: list[AbstractIncomingMessage] = []
        source = await self.client.get_queue(queue, ensure=False)

        async def enough() -> bool:
            while (message := await source.get(no_ack=True, fail=False)) is not None:
                found.append(message)
            return len(items(found)) >= count

        await until(enough, lambda: f"{len(items(found))} of {count} envelopes came to {queue}")
        return found

    async def waiting(self, queue: str) -> int:
        """Frames that wait in the queue, unacked ones not counted."""
        declared = await self.client.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def close_connections(self, application: Callable[[dict[str, Any]], bool] = lambda _: True) -> int:
        """Have the broker close connections to this virtual host, ours left out; returns how many."""
        closed = 0
        for connection in await self.management("GET", f"/api/vhosts/{self.vhost}/connections"):
            if connection.get("client_properties", {}).get("connection_name") != "client" and application(connection):
                await self.management("DELETE", f"/api/connections/{quote(connection['name'], safe='')}")
                closed += 1
        return closed

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Across tenants."""
        found: list[asyncpg.Record] = await self.administrator.fetch(query, *arguments)
        return found


@dataclass(frozen=True)
class Parts:
    """A service's transactions in this process, with a relay that publishes or with none."""

    transaction: Transactions
    relay: Relay


@asynccontextmanager
async def parts(settings: Settings, service: str = "inventory", hand_over: HandOver | None = None) -> AsyncIterator[Parts]:
    """As a process has them, but no sweeper; with `hand_over` the relay gets nothing, as if the process had died after each commit."""
    async with AsyncExitStack() as stack:
        broker = open_broker(settings)
        stack.push_async_callback(close, broker)
        await connect(broker, settings, patience_s=WAIT_S)
        app, relaying = open_pool(settings, service, "app", 6), open_pool(settings, service, "relay", 1)
        stack.push_async_callback(app.dispose)
        stack.push_async_callback(relaying.dispose)
        relay = Relay(service, broker, ConfirmedRows(service, relaying), settings)
        yield Parts(Transactions(service, app, Outbox(service, settings.resend_after_s), hand_over or relay, clock.now), relay)
        await relay.drain(WAIT_S)


@asynccontextmanager
async def working(service: Service, settings: Settings, folder: Path) -> AsyncIterator[Worker]:
    """A worker of the service, consuming; stopped as by SIGTERM."""
    ready = folder / f"ready {uuid4()}"
    worker = Worker([service], settings.model_copy(update={"ready_file": ready}))
    running = asyncio.create_task(worker.run())
    try:

        async def is_ready() -> bool:
            if running.done():
                running.result()
            return ready.exists()

        await until(is_ready, lambda: "the worker is not ready")
        yield worker
    finally:
        worker._stop.set()
        await running


async def until(is_so: Callable[[], Awaitable[bool]], otherwise: Callable[[], str]) -> None:
    """Poll until it is so; fails after WAIT_S with what was seen instead."""
    end = asyncio.get_running_loop().time() + WAIT_S
    while not await is_so():
        assert asyncio.get_running_loop().time() < end, otherwise()
        await asyncio.sleep(0.02)


async def take_and_die(stage: Stage, name: str) -> None:
    """What a process does that is killed while it handles the first message of the queue."""
    connection = await aio_pika.connect(stage.settings.rabbitmq_url)
    queue = await (await connection.channel()).get_queue(name, ensure=False)

    async def taken() -> bool:
        return await queue.get(fail=False) is not None

    await until(taken, lambda: "no message came")
    await connection.close()


def items(frames: Sequence[AbstractIncomingMessage]) -> list[dict[str, Any]]:
    """Every envelope of the frames; a letter without a frame around it counts as one."""
    found: list[dict[str, Any]] = []
    for frame in frames:
        held = json.loads(frame.body)
        found += held if isinstance(held, list) and held else [held]
    return found


def envelope(tenant_id: TenantId, message: Message, *, id: UUID | None = None, expires: datetime | None = None) -> Envelope:
    """The message as the coordinator sends it, in a saga of its own."""
    return Envelope(
        id=id or uuid4(),
        source="/sagas",
        type=name_of(type(message)),
        subject="test",
        time=clock.now(),
        tenantid=tenant_id,
        sagaid=SagaId(uuid4()),
        expires=expires,
        data=message,
    )


def reserve(tenant_id: TenantId, *skus: str, order_id: OrderId | None = None, quantity: int = 1) -> Envelope:
    """An ask for stock in the tenant's shop."""
    lines = tuple(OrderLine(sku=sku, quantity=quantity) for sku in skus or ("APPLE",))
    order = order_id or OrderId(uuid4())
    return envelope(tenant_id, ReserveStock(order_id=order, shop_id=ShopId(shop_of(tenant_id)), lines=lines))


async def a_tenant(transaction: Transactions, **stock: int) -> TenantId:
    """A new tenant with so many units of each SKU in its shop."""
    tenant_id = TenantId(uuid4())
    async with transaction(tenant_id) as scope:
        await add_stock(scope, shop_of(tenant_id), stock or {"APPLE": 1000})
    return tenant_id


async def levels(stage: Stage, tenant_id: TenantId) -> list[tuple[str, int, int]]:
    """SKU, available and held of the tenant's shop."""
    rows = await stage.rows("SELECT sku, available, held FROM inventory.stock WHERE tenant_id = $1 ORDER BY sku", tenant_id)
    return [(row["sku"], row["available"], row["held"]) for row in rows]


def nobody(outgoing: Sequence[Outgoing]) -> None:
    """Takes what was committed and forgets it, as a process that dies does."""
