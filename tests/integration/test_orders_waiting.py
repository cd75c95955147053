"""`Prefer: wait`: the final order as soon as there is one, or what is known when the time is up."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.values import OrderId, OrderStatus, Rejection, TenantId
from infra.settings import Settings
from services.orders.waiting import Waiting
from tests.integration.ordering import Client, no_poller, ordering, until


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


async def orders_of(client: Client, count: int) -> list[str]:
    """The ids of the tenant's orders, as soon as there are so many."""

    async def look() -> list[str]:
        return [order["id"] for order in (await client.get("/v1/orders")).json()["items"]]

    return await until(look, lambda seen: len(seen) == count)


async def test_the_confirmed_order_is_the_answer(client: Client) -> None:
    placing = asyncio.create_task(client.place(Prefer="respond-async, wait=10"))
    [order_id] = await orders_of(client, 1)
    await client.approve(order_id)
    answer = await placing
    assert (answer.status_code, answer.json()["status"], answer.headers["Preference-Applied"]) == (200, "CONFIRMED", "wait=10")
    assert (await client.get(answer.headers["Location"])).json() == answer.json()


async def test_a_rejected_order_is_an_answer_too(client: Client) -> None:
    placing = asyncio.create_task(client.place(Prefer="wait=10"))
    [order_id] = await orders_of(client, 1)
    await client.reject(order_id, Rejection.OUT_OF_STOCK)
    answer = await placing
    assert (answer.status_code, answer.json()["status"], answer.json()["rejection"]) == (200, "REJECTED", "OUT_OF_STOCK")


async def test_when_the_time_is_up_the_order_is_still_pending(client: Client) -> None:
    began = time.monotonic()
    answer = await client.place(Prefer="wait=1")
    assert (answer.status_code, answer.json()["status"], answer.headers["Preference-Applied"]) == (202, "PENDING", "wait=1")
    assert 0.9 < time.monotonic() - began < 5


@pytest.mark.parametrize("prefer", ["wait=soon", "respond-async", "return=minimal"])
async def test_who_does_not_ask_to_wait_is_answered_at_once(client: Client, prefer: str) -> None:
    answer = await client.place(Prefer=prefer)
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


async def test_many_waiting_requests_hold_no_connection(client: Client) -> None:
    # More than the pool has: if one were held for each, nobody could approve anything.
    other = replace(client, tenant_id=TenantId(uuid4()))
    await other.learn()
    placing = [asyncio.create_task(one.place(Prefer="wait=20")) for one in (client, other) for _ in range(10)]
    for one in (client, other):
        for order_id in await orders_of(one, 10):
            await one.approve(order_id)
    assert {(answer.status_code, answer.json()["status"]) for answer in await asyncio.gather(*placing)} == {(200, "CONFIRMED")}


async def test_nobody_is_told_of_another_tenants_order(client: Client) -> None:
    order_id = OrderId(UUID((await client.place()).json()["id"]))
    await client.approve(str(order_id))
    waiting = Waiting(client.transaction)
    stranger = waiting.settled(TenantId(uuid4()), order_id, 0.3)
    told, untold = await asyncio.gather(waiting.settled(client.tenant_id, order_id, 5), stranger)
    assert told is not None
    assert told.status is OrderStatus.CONFIRMED
    assert untold is None


async def test_the_poller_ends_with_its_last_waiter_and_starts_again(client: Client) -> None:
    order_id = OrderId(UUID((await client.place()).json()["id"]))
    waiting = Waiting(client.transaction)
    assert await waiting.settled(client.tenant_id, order_id, 0.05) is None
    await no_poller()
    await client.approve(str(order_id))
    assert await waiting.settled(client.tenant_id, order_id, 5) is not None


async def test_a_cancelled_wait_leaves_nothing_behind(client: Client) -> None:
    order_id = OrderId(UUID((await client.place()).json()["id"]))
    waiting = Waiting(client.transaction)
    gone = asyncio.create_task(waiting.settled(client.tenant_id, order_id, 20))
    await asyncio.sleep(0.05)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await no_poller()
