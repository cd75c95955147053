"""Groups of commands and events on a real database: one decision each, whatever else is in the group."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.inventory import ProductListed
from contracts.orders import ApproveOrder, OrderApproved, OrderRejected, RejectOrder
from contracts.values import OrderId, Rejection, VatRate
from infra.settings import Settings
from services.orders.order import UnknownOrder
from tests.integration.ordering import Client, ordering


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


async def place(client: Client, count: int) -> list[OrderId]:
    return [OrderId(UUID((await client.place()).json()["id"])) for _ in range(count)]


async def test_a_group_confirms_some_and_rejects_others(client: Client) -> None:
    first, second, third = await place(client, 3)
    asked = (ApproveOrder(order_id=first), RejectOrder(order_id=second, rejection=Rejection.FAULT), ApproveOrder(order_id=first))
    assert await client.hear(*asked) == [OrderApproved(), OrderRejected(), OrderApproved()]
    found = {order["id"]: order["status"] for order in (await client.get("/v1/orders")).json()["items"]}
    assert found == {str(first): "CONFIRMED", str(second): "REJECTED", str(third): "PENDING"}


async def test_an_unknown_order_undoes_its_group(client: Client) -> None:
    [order_id] = await place(client, 1)
    with pytest.raises(UnknownOrder):
        await client.hear(ApproveOrder(order_id=order_id), ApproveOrder(order_id=OrderId(uuid4())))
    assert (await client.get(f"/v1/orders/{order_id}")).json()["status"] == "PENDING"


async def test_groups_in_opposite_order_do_not_deadlock(client: Client) -> None:
    orders = await place(client, 8)
    asked = [ApproveOrder(order_id=order_id) for order_id in orders]
    listed = [ProductListed(sku=f"P{n}", version=1, name="x", price_pence=1, vat_rate=VatRate.ZERO) for n in range(20)]
    for _ in range(5):
        await asyncio.gather(client.hear(*asked), client.hear(*asked[::-1]), client.hear(*listed), client.hear(*listed[::-1]))
    assert len((await client.get("/v1/orders", status="CONFIRMED")).json()["items"]) == 8
