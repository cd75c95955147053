"""The service `orders` on a real database, without a broker: its API in this process, and its consumers' decisions by hand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import httpx

from contracts.inventory import ProductListed, ShopOpened
from contracts.messages import Message, Reply
from contracts.orders import ApproveOrder, RejectOrder
from contracts.values import OrderId, Rejection, ShopId, TenantId, VatRate
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

    async def learn(self, sku: str = "CAKE", price_pence: int = 120, version: int = 1, vat_rate: VatRate = VatRate.STANDARD) -> None:
        """Shop and product arrive from inventory."""
        await self.hear(ShopOpened(shop_id=self.shop_id, name="Corner shop"))
        await self.hear(ProductListed(sku=sku, version=version, name=sku.title(), price_pence=price_pence, vat_rate=vat_rate))

    async def approve(self, order_id: str) -> None:
        await self.hear(ApproveOrder(order_id=OrderId(UUID(order_id))))

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
