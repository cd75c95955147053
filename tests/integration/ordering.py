"""The service `orders` on a real database, without a broker: its API in this process, and its consumers' decisions by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic_core import from_json

from contracts.inventory import ProductListed, ShopOpened
from contracts.messages import Command, Envelope, Message, Reply
from contracts.orders import ApproveOrder, RejectOrder
from contracts.values import OrderId, Rejection, ShopId, TenantId, VatRate
from infra.batch import Batches
from infra.settings import Settings
from infra.transaction import Transactions
from services.orders.consumers import HANDLES
from services.orders.main import SERVICE
from tests.conformance.places import decide, envelope
from tests.integration.serving import Api, serving

_BOOK, _CATALOGUE = HANDLES
PATIENCE_S: Final = 0.3
Seen = TypeVar("Seen")


@dataclass
class Client:
    """One tenant's client and its shop."""

    api: Api
    tenant_id: TenantId = field(default_factory=lambda: TenantId(uuid4()))
    shop_id: ShopId = field(default_factory=lambda: ShopId(uuid4()))

    @property
    def transaction(self) -> Transactions:
        return self.api.transaction

    async def hear(self, *messages: Message) -> list[Reply | None]:
        """What orders answers to one group of messages, committed."""
        handles = _CATALOGUE if isinstance(messages[0], ShopOpened | ProductListed) else _BOOK
        async with self.transaction(self.tenant_id) as scope:
            return await decide(scope, handles, [envelope(self.tenant_id, message) for message in messages])

    async def commit(self, *asked: Envelope) -> list[tuple[UUID, str]]:
        """Let orders' consumer handle one group of commands; what it answers, as (command id, name of the reply)."""
        before = len(self.api.published)
        await Batches(self.transaction, HANDLES).commit(asked)
        return self.answered(before)

    def answered(self, since: int = 0) -> list[tuple[UUID, str]]:
        """The replies that were published, first to last, as (command id, name of the reply)."""
        told = [from_json(one.body) for one in self.api.published[since:]]
        return [(UUID(one["commandid"]), one["type"].split(".")[1]) for one in told if "commandid" in one]

    def asking(self, command: Command[Any]) -> Envelope:
        """The command as a saga asks it: an order's id is its subject."""
        asked = envelope(self.tenant_id, command)
        return asked.model_copy(update={"subject": str(command.model_dump()["order_id"])})

    async def learn(
        self,
        sku: str = "CAKE",
        price_pence: int = 120,
        version: int = 1,
        vat_rate: VatRate = VatRate.STANDARD,
        *,
        accepts_by_hand: bool = False,
    ) -> None:
        """Shop and product arrive from inventory."""
        await self.hear(ShopOpened(shop_id=self.shop_id, name="Corner shop", accepts_by_hand=accepts_by_hand))
        await self.hear(ProductListed(sku=sku, version=version, name=sku.title(), price_pence=price_pence, vat_rate=vat_rate))

    async def approve(self, order_id: str) -> None:
        await self.hear(ApproveOrder(order_id=OrderId(UUID(order_id))))

    async def placed(self, *lines: tuple[str, int]) -> OrderId:
        """The id of a new order, which is PENDING."""
        answer = await self.place(*lines)
        assert answer.status_code == 202, answer.text
        return OrderId(UUID(answer.json()["id"]))

    async def confirmed(self) -> OrderId:
        """The id of a new order, which is CONFIRMED."""
        order_id = await self.placed()
        await self.approve(str(order_id))
        return order_id

    async def cancel(self, order_id: OrderId, reason: str = "changed my mind", **headers: str) -> httpx.Response:
        return await self.post(f"/v1/orders/{order_id}/cancel", {"reason": reason}, **headers)

    async def status(self, order_id: OrderId) -> str:
        return str((await self.get(f"/v1/orders/{order_id}")).json()["status"])

    async def reject(self, order_id: str, why: Rejection) -> None:
        await self.hear(RejectOrder(order_id=OrderId(UUID(order_id)), rejection=why))

    def body(self, *lines: tuple[str, int]) -> dict[str, Any]:
        return {
            "shop_id": str(self.shop_id),
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines or (("CAKE", 1),)],
        }

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Header names with underscores for dashes."""
        return await self.api.client.post(
            path, json=body, headers={**self.authorization(), **{k.replace("_", "-"): v for k, v in headers.items()}}
        )

    async def place(self, *lines: tuple[str, int], **headers: str) -> httpx.Response:
        return await self.post("/v1/orders", self.body(*lines), **headers)

    async def get(self, path: str, **params: str | int) -> httpx.Response:
        return await self.api.client.get(path, params=params, headers=self.authorization())

    async def count(self, table: str) -> int:
        """Rows of the tenant."""
        async with self.transaction(self.tenant_id) as scope:
            found: int = await scope.connection.fetchval(f"SELECT count(*) FROM orders.{table} WHERE tenant_id = $1", self.tenant_id)
            return found

    async def sent(self, name: str) -> list[str]:
        """The bodies in the outbox with this message name."""
        async with self.transaction(self.tenant_id) as scope:
            rows = await scope.connection.fetch("SELECT body FROM orders.outbox WHERE tenant_id = $1", self.tenant_id)
        return [row["body"] for row in rows if f'"{name}"' in row["body"]]

    def authorization(self) -> dict[str, str]:
        return self.api.token("orders:read", "orders:write", tenant_id=self.tenant_id)


@asynccontextmanager
async def ordering(settings: Settings, home: Path) -> AsyncIterator[Client]:
    """A client of orders, whose shop sells cake."""
    async with serving(SERVICE, settings.model_copy(update={"projection_patience_s": PATIENCE_S}), home) as api:
        client = Client(api)
        await client.learn()
        yield client
        # Its last look may still be under way, on a connection of the pool that is closed next.
        await no_poller()


async def no_poller() -> None:
    """The poller of waiting requests has ended."""

    async def look() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks()]

    await until(look, lambda seen: "orders waiting" not in seen)


async def until(look: Callable[[], Awaitable[Seen]], is_it: Callable[[Seen], object], within_s: float = 10) -> Seen:
    """What is seen as soon as it is what we wait for; fails with what was seen last."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not is_it(seen := await look()):
        assert asyncio.get_running_loop().time() < deadline, f"after {within_s} s still {seen!r}"
        await asyncio.sleep(0.01)
    return seen
