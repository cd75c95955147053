"""Cancelling over HTTP, on a real database: what the client is told, and what is said to the sagas."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic_core import from_json

from contracts.orders import (
    ApproveOrder,
    MarkOrderCancelled,
    OrderApproved,
    OrderCancelled,
    OrderMarkedCancelled,
    OrderRejected,
    RejectOrder,
)
from contracts.values import OrderId, Rejection, TenantId
from infra.settings import Settings
from tests.integration.ordering import Client, ordering, until
from tests.integration.refusals import CHECK_VIOLATED

EVENT = "orders.OrderCancelRequested.v1"


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


async def requested(client: Client) -> list[dict[str, Any]]:
    """The events that start a saga to cancel."""
    return [from_json(body) for body in await client.sent(EVENT)]


async def until_cancelling(client: Client, order_id: OrderId) -> None:
    await until(lambda: client.status(order_id), lambda status: status == "CANCELLING")


async def test_a_pending_order_is_cancelling_until_the_saga_that_places_it_turns_back(client: Client) -> None:
    order_id = await client.placed()
    answer = await client.cancel(order_id, "  changed my mind ")
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/orders/{order_id}")
    assert (answer.json()["status"], answer.json()["cancel_reason"]) == ("CANCELLING", "changed my mind")
    assert (await client.get(f"/v1/orders/{order_id}")).json() == answer.json()
    assert await client.hear(ApproveOrder(order_id=order_id)) == [OrderCancelled()]
    assert await client.hear(RejectOrder(order_id=order_id, rejection=Rejection.CANCELLED)) == [OrderRejected()]
    ended = (await client.get(f"/v1/orders/{order_id}")).json()
    assert (ended["status"], ended["rejection"], ended["cancel_reason"]) == ("CANCELLED", None, "changed my mind")
    assert await requested(client) == []


async def test_a_confirmed_order_is_cancelling_until_a_saga_of_its_own_has_undone_it(client: Client) -> None:
    order_id = await client.confirmed()
    answer = await client.cancel(order_id)
    assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLING")
    [event] = await requested(client)
    assert event["data"] == {"order_id": str(order_id), "reason": "changed my mind", "paid": False}
    assert (event["subject"], event["sequence"]) == (str(order_id), 3)
    assert await client.hear(ApproveOrder(order_id=order_id)) == [OrderApproved()]
    assert await client.hear(*[MarkOrderCancelled(order_id=order_id)] * 2) == [OrderMarkedCancelled()] * 2
    assert await client.status(order_id) == "CANCELLED"


async def test_a_paid_orders_payment_is_to_be_given_back(client: Client) -> None:
    body = client.body() | {"payment": {"token": "tok_ok"}}
    order_id = OrderId((await client.post("/v1/orders", body)).json()["id"])
    await client.approve(str(order_id))
    await client.cancel(order_id)
    assert [event["data"]["paid"] for event in await requested(client)] == [True]


async def test_cancelling_again_is_answered_alike_and_starts_nothing(client: Client) -> None:
    order_id = await client.confirmed()
    first = await client.cancel(order_id, "first")
    again = await client.cancel(order_id, "second")
    assert (again.status_code, again.text) == (202, first.text)
    await client.hear(MarkOrderCancelled(order_id=order_id))
    ended = await client.cancel(order_id, "third")
    assert (ended.status_code, ended.json()) == (200, {**first.json(), "status": "CANCELLED"})
    assert ended.headers["Location"] == first.headers["Location"]
    assert len(await requested(client)) == 1


async def test_who_waits_is_told_when_everything_is_given_back(client: Client) -> None:
    order_id = await client.confirmed()
    cancelling = asyncio.create_task(client.cancel(order_id, Prefer="wait=10"))
    await until_cancelling(client, order_id)
    await client.hear(MarkOrderCancelled(order_id=order_id))
    answer = await cancelling
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=10")
    assert answer.json() == (await client.get(f"/v1/orders/{order_id}")).json()
    assert answer.json()["status"] == "CANCELLED"


async def test_when_the_time_is_up_it_is_still_cancelling(client: Client) -> None:
    answer = await client.cancel(await client.placed(), Prefer="wait=1")
    assert (answer.status_code, answer.json()["status"], answer.headers["Preference-Applied"]) == (202, "CANCELLING", "wait=1")


async def test_who_waits_for_an_order_that_is_cancelled_meanwhile_waits_until_it_is_final(client: Client) -> None:
    placing = asyncio.create_task(client.place(Prefer="wait=10"))

    async def orders() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await client.get("/v1/orders")).json()["items"]
        return found

    [order] = await until(orders, bool)
    await client.cancel(order["id"])
    # Long enough for several looks: CANCELLING is not what it waits for.
    await asyncio.sleep(0.3)
    assert not placing.done()
    await client.reject(order["id"], Rejection.CANCELLED)
    answer = await placing
    assert (answer.status_code, answer.json()) == (200, (await client.get(f"/v1/orders/{order['id']}")).json())
    assert (answer.json()["status"], answer.json()["cancel_reason"]) == ("CANCELLED", "changed my mind")


@pytest.mark.parametrize(
    ("verbs", "words"),
    [
        (["prepare"], "is PREPARING and cannot become CANCELLING"),
        (["prepare", "ready"], "the shop has begun with it, and only a PENDING or CONFIRMED order can be cancelled"),
        (["prepare", "ready", "complete"], "its way has ended"),
    ],
)
async def test_an_order_that_the_shop_has_begun_with_is_not_cancelled(client: Client, verbs: list[str], words: str) -> None:
    order_id = await client.confirmed()
    for verb in verbs:
        await client.post(f"/v1/orders/{order_id}/{verb}")
    refused = await client.cancel(order_id)
    assert (refused.status_code, words in refused.json()["detail"]) == (409, True), refused.text
    assert await requested(client) == []


async def test_a_rejected_order_is_not_cancelled(client: Client) -> None:
    order_id = await client.placed()
    await client.reject(str(order_id), Rejection.OUT_OF_STOCK)
    refused = await client.cancel(order_id)
    assert (refused.status_code, "is REJECTED and cannot become CANCELLING" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize("place", [Client.placed, Client.confirmed])
async def test_nobody_prepares_a_cancelling_order(client: Client, place: Any) -> None:
    order_id = await place(client)
    await client.cancel(order_id)
    refused = await client.post(f"/v1/orders/{order_id}/prepare")
    assert (refused.status_code, refused.json()["detail"].endswith("it is being cancelled")) == (409, True)


@pytest.mark.parametrize(
    "body", [None, {}, {"reason": ""}, {"reason": "  "}, {"reason": "x" * 201}, {"reason": 1}, {"reason": "x", "now": 1}]
)
async def test_a_wrong_reason_is_told(client: Client, body: Any) -> None:
    order_id = await client.placed()
    refused = await client.post(f"/v1/orders/{order_id}/cancel", body)
    assert (refused.status_code, len(refused.json()["errors"])) == (422, 1)
    assert await client.status(order_id) == "PENDING"


async def test_the_longest_reason_is_kept_whole(client: Client) -> None:
    order_id = await client.confirmed()
    assert (await client.cancel(order_id, "é" * 200)).json()["cancel_reason"] == "é" * 200
    assert [event["data"]["reason"] for event in await requested(client)] == ["é" * 200]


async def test_another_tenants_order_is_not_cancelled_and_answers_like_an_unknown_one(client: Client) -> None:
    order_id = await client.placed()
    stranger = replace(client, tenant_id=TenantId(uuid4()))
    unknown = OrderId(uuid4())
    answers = [await stranger.cancel(one) for one in (order_id, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"].replace(str(order_id), "X") == answers[1].json()["detail"].replace(str(unknown), "X")
    assert await client.status(order_id) == "PENDING"


async def test_who_may_only_read_orders_cancels_none(client: Client) -> None:
    order_id = await client.placed()
    reader = client.api.token("orders:read", tenant_id=client.tenant_id)
    refused = await client.api.call("POST", f"/v1/orders/{order_id}/cancel", reader, {"reason": "x"})
    assert refused.status_code == 403


async def test_cancelling_orders_are_listed_by_their_status(client: Client) -> None:
    _, second = await client.placed(), await client.placed()
    await client.cancel(second)
    assert [order["id"] for order in (await client.get("/v1/orders", status="CANCELLING")).json()["items"]] == [str(second)]


@pytest.mark.parametrize(
    "change",
    [
        "status = 'CANCELLING'",
        "cancel_reason = 'x'",
        "cancelled_from = 'PENDING'",
        "cancelled_from = 'PENDING', cancel_reason = 'x'",
        "status = 'CANCELLED', cancelled_from = 'READY', cancel_reason = 'x'",
        "status = 'CANCELLED', cancelled_from = 'PENDING', cancel_reason = ''",
        "acceptance = 'MAYBE'",
    ],
)
async def test_the_schema_keeps_half_a_cancelling_out(client: Client, change: str) -> None:
    await client.placed()
    with pytest.raises(CHECK_VIOLATED):
        async with client.transaction(client.tenant_id) as scope:
            await scope.connection.execute(f"UPDATE orders.customer_order SET {change} WHERE tenant_id = $1", scope.tenant_id)
