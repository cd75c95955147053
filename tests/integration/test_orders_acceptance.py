"""Acceptance by hand on a real database: the saga's question waits, as a row and not as a connection, until the shop has answered."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic_core import from_json

from contracts.orders import ApproveOrder, RequestAcceptance, WithdrawAcceptance
from contracts.values import OrderId, Rejection, TenantId
from infra.settings import Settings
from services.orders.consumers import HANDLES
from tests.conformance.places import decide
from tests.hearing import heard
from tests.integration.ordering import Client, ordering


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


async def accepting(client: Client, order_id: OrderId, verb: str = "accept") -> tuple[int, str]:
    """Status, and what the order is or why it is not."""
    answer = await client.post(f"/v1/orders/{order_id}/{verb}")
    return answer.status_code, answer.json()["status"] if answer.status_code == 200 else answer.json()["detail"]


async def awaits(client: Client, order_id: OrderId) -> bool:
    return bool((await client.get(f"/v1/orders/{order_id}")).json()["awaiting_acceptance"])


async def test_whether_the_shop_is_asked_is_said_when_the_order_is_placed(client: Client) -> None:
    await client.placed()
    by_hand = replace(client, tenant_id=TenantId(uuid4()))
    await by_hand.learn(accepts_by_hand=True)
    await by_hand.placed()
    events = [from_json(body)["data"] for one in (client, by_hand) for body in await one.sent("orders.OrderPlaced.v1")]
    assert [event["accept_by_hand"] for event in events] == [False, True]


@pytest.mark.parametrize(("verb", "reply"), [("accept", "OrderAccepted"), ("decline", "OrderDeclined")])
async def test_the_saga_is_answered_when_the_shop_has_decided(client: Client, verb: str, reply: str) -> None:
    order_id = await client.placed()
    asked = client.asking(RequestAcceptance(order_id=order_id))
    assert await client.commit(asked) == []
    assert await client.commit(asked) == []
    assert await awaits(client, order_id)
    assert await accepting(client, order_id, verb) == (200, "PENDING")
    assert client.answered() == [(asked.id, reply)]
    assert not await awaits(client, order_id)
    assert await client.count("unanswered") == 0
    # Asked again it is the same message, byte for byte.
    assert await client.commit(asked) == [(asked.id, reply)]
    assert len({one.body for one in client.api.published if reply in one.body}) == 1


async def test_the_same_word_again_is_answered_alike_and_told_to_nobody(client: Client) -> None:
    order_id = await client.placed()
    await client.commit(client.asking(RequestAcceptance(order_id=order_id)))
    assert [await accepting(client, order_id) for _ in range(2)] == [(200, "PENDING")] * 2
    await client.approve(str(order_id))
    assert await accepting(client, order_id) == (200, "CONFIRMED")
    assert len(client.answered()) == 1


async def test_the_shops_word_is_its_last(client: Client) -> None:
    for first, second, words in (("accept", "decline", "was accepted already"), ("decline", "accept", "was declined already")):
        order_id = await client.placed()
        await client.commit(client.asking(RequestAcceptance(order_id=order_id)))
        await accepting(client, order_id, first)
        status, detail = await accepting(client, order_id, second)
        assert (status, words in detail) == (409, True), detail
    assert [reply for _, reply in client.answered()] == ["OrderAccepted", "OrderDeclined"]


async def test_an_order_that_does_not_wait_for_the_shop_is_neither_accepted_nor_declined(client: Client) -> None:
    pending, confirmed = await client.placed(), await client.confirmed()
    for order_id, status in ((pending, "PENDING"), (confirmed, "CONFIRMED")):
        for verb in ("accept", "decline"):
            answer = await accepting(client, order_id, verb)
            assert answer == (409, f"order {order_id} does not wait for the shop to accept or decline it; it is {status}")


async def test_an_order_that_went_on_without_the_shops_word_does_not_wait_for_it(client: Client) -> None:
    """An operator has answered the saga in the shop's place."""
    order_id = await client.placed()
    await client.commit(client.asking(RequestAcceptance(order_id=order_id)))
    await client.approve(str(order_id))
    assert not await awaits(client, order_id)
    status, detail = await accepting(client, order_id, "decline")
    assert (status, detail) == (409, f"order {order_id} does not wait for the shop any more; it is CONFIRMED")
    assert client.answered() == []


async def test_a_withdrawal_answers_both(client: Client) -> None:
    order_id = await client.placed()
    asked, undone = (client.asking(command(order_id=order_id)) for command in (RequestAcceptance, WithdrawAcceptance))
    await client.commit(asked)
    assert sorted(await client.commit(undone)) == sorted([(asked.id, "OrderDeclined"), (undone.id, "AcceptanceWithdrawn")])
    await client.reject(str(order_id), Rejection.NOT_ACCEPTED)
    status, detail = await accepting(client, order_id)
    assert (status, detail) == (409, f"order {order_id} does not wait for the shop any more; it is REJECTED")


async def test_ask_and_undo_in_one_group_are_both_answered(client: Client) -> None:
    first, second = await client.placed(), await client.placed()
    asked, undone = (client.asking(command(order_id=first)) for command in (RequestAcceptance, WithdrawAcceptance))
    assert sorted(await client.commit(asked, undone)) == sorted([(asked.id, "OrderDeclined"), (undone.id, "AcceptanceWithdrawn")])
    undone, asked = (client.asking(command(order_id=second)) for command in (WithdrawAcceptance, RequestAcceptance))
    assert await client.commit(undone, asked) == [(undone.id, "AcceptanceWithdrawn"), (asked.id, "OrderDeclined")]
    assert await client.commit(asked) == [(asked.id, "OrderDeclined")]
    assert await client.count("unanswered") == 0


async def test_cancelling_while_it_waits_for_the_shop_turns_the_saga_back_at_once(client: Client) -> None:
    order_id = await client.placed()
    asked = client.asking(RequestAcceptance(order_id=order_id))
    await client.commit(asked)
    cancelling = await client.cancel(order_id)
    assert (cancelling.json()["status"], cancelling.json()["awaiting_acceptance"]) == ("CANCELLING", False)
    assert client.answered() == [(asked.id, "OrderDeclined")]
    status, detail = await accepting(client, order_id)
    assert (status, detail) == (409, f"order {order_id} does not wait for the shop any more; it is CANCELLING")
    await client.reject(str(order_id), Rejection.NOT_ACCEPTED)
    assert await client.status(order_id) == "CANCELLED"


async def test_an_order_cancelled_before_the_shop_is_asked_is_declined_when_it_is(client: Client) -> None:
    order_id = await client.placed()
    await client.cancel(order_id)
    asked = client.asking(RequestAcceptance(order_id=order_id))
    assert await client.commit(asked) == [(asked.id, "OrderDeclined")]


async def test_another_tenants_order_is_not_accepted(client: Client) -> None:
    order_id = await client.placed()
    await client.commit(client.asking(RequestAcceptance(order_id=order_id)))
    stranger = replace(client, tenant_id=TenantId(uuid4()))
    assert [(await accepting(stranger, order_id, verb))[0] for verb in ("accept", "decline")] == [404, 404]
    assert await awaits(client, order_id)


async def test_who_may_only_read_orders_accepts_none(client: Client) -> None:
    order_id = await client.placed()
    reader = client.api.token("orders:read", tenant_id=client.tenant_id)
    answers = [await client.api.call("POST", f"/v1/orders/{order_id}/{verb}", reader) for verb in ("accept", "decline")]
    assert [answer.status_code for answer in answers] == [403, 403]


async def test_what_waits_is_seen_in_the_list(client: Client) -> None:
    order_id, _ = await client.placed(), await client.placed()
    await client.commit(client.asking(RequestAcceptance(order_id=order_id)))
    listed = (await client.get("/v1/orders")).json()["items"]
    assert [order["id"] for order in listed if order["awaiting_acceptance"]] == [str(order_id)]


async def test_a_large_group_costs_as_many_statements_as_a_small_one(client: Client) -> None:
    async def statements(count: int) -> int:
        """Half of the orders wait for the shop and are withdrawn, half are confirmed."""
        orders = [await client.placed() for _ in range(2 * count)]
        await client.commit(*(client.asking(RequestAcceptance(order_id=order_id)) for order_id in orders[:count]))
        asked = [client.asking(WithdrawAcceptance(order_id=order_id)) for order_id in orders[:count]]
        asked += [client.asking(ApproveOrder(order_id=order_id)) for order_id in orders[count:]]
        async with client.transaction(client.tenant_id) as scope:
            with heard(scope) as said:
                await decide(scope, HANDLES[0], asked)
                await scope.written()
        return len(said)

    assert await statements(1) == await statements(30) == 3
