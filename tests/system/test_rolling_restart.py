"""Every process is replaced by SIGTERM, one after another, while orders come in: nothing is delivered twice, nothing is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from contracts.values import OrderStatus
from infra.dev.demo_client import Order, Payment, Retailer
from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage, until
from infra.dev.up import wait_until_api_ready
from infra.services import MODULES
from infra.settings import Settings
from infra.token import token
from tests.system.conftest import HOME

ORDERS_PER_S: Final = 20
CARD_EVERY: Final = 4
ENDS_WITHIN_S: Final = 60.0
COUNTED_WITHIN_S: Final = 15.0
"""The broker counts every five seconds."""
_TRIES_MAX: Final = 400


class Customer:
    """Places orders at a steady pace, each until somebody answers: the API, too, is replaced."""

    def __init__(self, stage: Stage, retailer: Retailer) -> None:
        bearer = token(Settings(home=HOME), tenant=str(retailer.tenant_id), scope="orders:write catalog:read", ttl="1h")["token"]
        self._http = httpx.AsyncClient(base_url=stage.running.api_url, headers={"Authorization": f"Bearer {bearer}"}, timeout=30)
        self.placed: dict[UUID, bool] = {}
        """Order -> whether a card pays for it."""

    @asynccontextmanager
    async def ordering(self) -> AsyncIterator[None]:
        """Orders come in for as long as this is open; at its end all that were begun are placed."""
        async with self._http, asyncio.TaskGroup() as group:
            shop = (await self._http.get("/v1/shops")).json()["items"][0]["id"]
            pace = group.create_task(self._keep_placing(group, shop))
            yield
            pace.cancel()

    async def _keep_placing(self, group: asyncio.TaskGroup, shop: str) -> None:
        for number in count():
            group.create_task(self._place(shop, by_card=number % CARD_EVERY == 0))
            await asyncio.sleep(1 / ORDERS_PER_S)

    async def _place(self, shop: str, *, by_card: bool) -> None:
        body = {"shop_id": shop, "lines": [{"sku": "sourdough", "quantity": 1}], **({"payment": {"token": "tok_ok"}} if by_card else {})}
        key = {"Idempotency-Key": str(uuid4())}
        for _ in range(_TRIES_MAX):
            answer = await self._answer(body, key)
            if answer is not None:
                self.placed[UUID(answer["id"])] = by_card
                return
            await asyncio.sleep(0.1)
        raise TimeoutError("the API did not come back")

    async def _answer(self, body: object, headers: dict[str, str]) -> dict[str, Any] | None:
        try:
            answer = await self._http.post("/v1/orders", json=body, headers=headers)
        except httpx.TransportError:
            return None
        # On a busy machine it gets no connection to its database in time, or too much is under way: it says so, and is asked again.
        assert answer.status_code in (httpx.codes.ACCEPTED, httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE), answer.text
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == httpx.codes.ACCEPTED else None


async def test_a_rolling_restart_of_everything_under_load_redelivers_nothing_and_loses_nothing(stage: Stage) -> None:
    retailer = await stage.retailer("Open All Hours", {"sourdough": (250, 100_000)})
    customer = Customer(stage, retailer)
    before = await counted(stage)
    async with customer.ordering():
        for service in (*MODULES, "api"):
            await asyncio.to_thread(replace, stage, service)
    placed = customer.placed
    stage.say(f"{len(placed)} orders while {len(MODULES) + 1} processes were replaced")

    async def orders() -> list[Order]:
        return await retailer.orders()

    ended = await until(
        orders, lambda found: all(order.status is not OrderStatus.PENDING for order in found), "the orders to end", ENDS_WITHIN_S
    )
    assert {order.id for order in ended} == placed.keys()
    assert [order for order in ended if order.status is not OrderStatus.CONFIRMED] == []
    by_card = [id for id, is_by_card in placed.items() if is_by_card]
    assert by_card
    for id in by_card:
        await expect_charged(retailer, id)
    await expect_conserved(stage, retailer)
    await expect_each_delivered_once(stage, before)


async def expect_charged(retailer: Retailer, order_id: UUID) -> None:
    """Its money is taken, a moment after it was confirmed."""

    async def payment() -> Payment:
        return await retailer.payment(order_id)

    await until(payment, lambda seen: seen == Payment("CAPTURED", 0, 250), f"the card of {order_id} to be charged")


def replace(stage: Stage, name: str) -> None:
    """SIGTERM, and the next one when it has ended."""
    supervisor = stage.running.supervisor
    began = time.monotonic()
    supervisor.stop(name)
    stopped = time.monotonic()
    supervisor.start(name)
    if name == "api":
        wait_until_api_ready(stage.running)
    else:
        supervisor.wait_until_ready(name, 60)
    stage.say(f"{name}: stopped in {stopped - began:.2f} s, back after {time.monotonic() - stopped:.2f} s")


Counts = dict[str, dict[str, int]]


async def expect_each_delivered_once(stage: Stage, before: Counts) -> None:
    """Of every queue, each frame that reached a process was acked by it: nothing that somebody had in hand came again."""

    async def deliveries() -> dict[str, tuple[int, int]]:
        now = await counted(stage)
        since = {queue: {kind: number - before.get(queue, {}).get(kind, 0) for kind, number in of.items()} for queue, of in now.items()}
        return {queue: (of["deliver"], of["ack"]) for queue, of in since.items() if of.get("deliver")}

    def is_even(seen: dict[str, tuple[int, int]]) -> bool:
        return len(seen) > len(MODULES) and all(delivered == acked for delivered, acked in seen.values())

    await until(deliveries, is_even, "as many acks as deliveries", COUNTED_WITHIN_S)


async def counted(stage: Stage) -> Counts:
    """What the broker has counted of each queue since it began: `deliver`, `ack`, `redeliver` and others."""
    async with httpx.AsyncClient(base_url=stage.running.servers.rabbitmq_management_url, timeout=10) as client:
        queues = (await client.get("/api/queues", params={"columns": "name,message_stats"})).raise_for_status().json()
    return {
        queue["name"]: {kind: number for kind, number in queue.get("message_stats", {}).items() if isinstance(number, int)}
        for queue in queues
    }
