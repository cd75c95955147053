"""Two at once about one order: the second waits for the order's lock, and then sees what the first has done.

Each race is run both ways. The first holds the lock, decided but not committed, until the server says that the second waits for it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import Envelope
from contracts.orders import (
    ApproveOrder,
    MarkOrderCancelled,
    OrderApproved,
    OrderCancelled,
    RejectOrder,
    RequestAcceptance,
    WithdrawAcceptance,
)
from contracts.values import OrderId, Rejection
from infra.settings import Settings
from services.orders import repository, use_cases
from services.orders.order import Order, OrderBook
from tests.integration.ordering import Client, ordering, until

_SOMEBODY_WAITS_FOR_US = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


@asynccontextmanager
async def meanwhile(client: Client, order_id: OrderId, second: Coroutine[Any, Any, Any]) -> AsyncIterator[tuple[Order, asyncio.Task[Any]]]:
    """The order, locked, to be decided on while the second waits for it; saved, committed and answered when the block ends."""
    async with client.transaction(client.tenant_id) as scope:
        book = await repository.lock_orders(scope, [order_id])
        waiting = asyncio.create_task(second)
        await until(lambda: scope.connection.fetchval(_SOMEBODY_WAITS_FOR_US), bool)
        yield book.find(order_id), waiting
        assert not waiting.done()
        await repository.save_orders(scope, book)
    await waiting


async def test_a_cancel_that_waits_for_the_approval_starts_a_saga_that_undoes_the_order(client: Client) -> None:
    order_id = await client.placed()
    async with meanwhile(client, order_id, client.cancel(order_id)) as (order, cancelling):
        assert use_cases.approve_order(ApproveOrder(order_id=order_id), OrderBook({order_id: order})) == OrderApproved()
    assert (cancelling.result().status_code, cancelling.result().json()["status"]) == (202, "CANCELLING")
    assert len(await client.sent("orders.OrderCancelRequested.v1")) == 1
    await client.hear(MarkOrderCancelled(order_id=order_id))
    assert await client.status(order_id) == "CANCELLED"


async def test_an_approval_that_waits_for_the_cancel_is_refused_and_no_other_saga_starts(client: Client) -> None:
    order_id = await client.placed()
    async with meanwhile(client, order_id, client.hear(ApproveOrder(order_id=order_id))) as (order, approving):
        assert use_cases.cancel_order(order, "changed my mind") is None
    assert approving.result() == [OrderCancelled()]
    assert await client.sent("orders.OrderCancelRequested.v1") == []
    await client.reject(str(order_id), Rejection.CANCELLED)
    assert await client.status(order_id) == "CANCELLED"


async def test_a_cancel_that_waits_for_the_rejection_is_told_that_it_came_too_late(client: Client) -> None:
    order_id = await client.placed()
    async with meanwhile(client, order_id, client.cancel(order_id)) as (order, cancelling):
        order.reject(Rejection.OUT_OF_STOCK)
    assert cancelling.result().status_code == 409
    assert await client.status(order_id) == "REJECTED"


async def test_a_rejection_that_waits_for_the_cancel_ends_the_order_cancelled(client: Client) -> None:
    order_id = await client.placed()
    rejecting = client.hear(RejectOrder(order_id=order_id, rejection=Rejection.OUT_OF_STOCK))
    async with meanwhile(client, order_id, rejecting) as (order, _):
        use_cases.cancel_order(order, "changed my mind")
    assert await client.status(order_id) == "CANCELLED"


async def test_a_cancel_that_waits_for_the_shop_to_begin_is_told_that_it_came_too_late(client: Client) -> None:
    order_id = await client.confirmed()
    async with meanwhile(client, order_id, client.cancel(order_id)) as (order, cancelling):
        use_cases.prepare_order(order)
    assert (cancelling.result().status_code, await client.status(order_id)) == (409, "PREPARING")
    assert await client.sent("orders.OrderCancelRequested.v1") == []


async def test_a_shop_that_waits_for_the_cancel_does_not_begin(client: Client) -> None:
    order_id = await client.confirmed()
    async with meanwhile(client, order_id, client.post(f"/v1/orders/{order_id}/prepare")) as (order, preparing):
        use_cases.cancel_order(order, "changed my mind")
    assert (preparing.result().status_code, await client.status(order_id)) == (409, "CANCELLING")


async def test_of_many_cancels_at_once_one_starts_a_saga(client: Client) -> None:
    order_id = await client.confirmed()
    answers = await asyncio.gather(*(client.cancel(order_id, f"reason {number}") for number in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len(await client.sent("orders.OrderCancelRequested.v1")) == 1


async def waiting_for_the_shop(client: Client) -> tuple[OrderId, Envelope]:
    order_id = await client.placed()
    asked = client.asking(RequestAcceptance(order_id=order_id))
    assert await client.commit(asked) == []
    return order_id, asked


Decide = Callable[[Order], None]


@pytest.mark.parametrize(
    ("first", "second", "reply"),
    [(use_cases.accept_order, "decline", "OrderAccepted"), (use_cases.decline_order, "accept", "OrderDeclined")],
)
async def test_of_accept_and_decline_the_second_is_told_that_it_came_too_late(
    client: Client, first: Decide, second: str, reply: str
) -> None:
    order_id, asked = await waiting_for_the_shop(client)
    async with meanwhile(client, order_id, client.post(f"/v1/orders/{order_id}/{second}")) as (order, late):
        first(order)
    assert late.result().status_code == 409
    assert client.answered() == [(asked.id, reply)]


async def test_a_withdrawal_that_waits_for_the_shops_word_lets_it_stand_and_tombstones_it(client: Client) -> None:
    order_id, asked = await waiting_for_the_shop(client)
    undone = client.asking(WithdrawAcceptance(order_id=order_id))
    async with meanwhile(client, order_id, client.commit(undone)) as (order, _):
        use_cases.accept_order(order)
    assert sorted(client.answered()) == sorted([(asked.id, "OrderAccepted"), (undone.id, "AcceptanceWithdrawn")])
    other = client.asking(RequestAcceptance(order_id=order_id))
    assert await client.commit(other) == [(other.id, "OrderDeclined")]


async def test_a_shop_that_waits_for_the_withdrawal_is_told_that_it_came_too_late(client: Client) -> None:
    order_id, asked = await waiting_for_the_shop(client)
    async with meanwhile(client, order_id, client.post(f"/v1/orders/{order_id}/accept")) as (order, accepting):
        order.withdraw_acceptance()
    assert accepting.result().status_code == 409
    assert client.answered() == [(asked.id, "OrderDeclined")]


async def test_an_asking_that_waits_for_its_withdrawal_is_declined(client: Client) -> None:
    order_id = await client.placed()
    asked = client.asking(RequestAcceptance(order_id=order_id))
    async with meanwhile(client, order_id, client.commit(asked)) as (order, _):
        order.withdraw_acceptance()
    assert client.answered() == [(asked.id, "OrderDeclined")]
    assert await client.count("unanswered") == 0


async def test_an_asking_that_waits_for_the_cancel_is_declined(client: Client) -> None:
    order_id = await client.placed()
    asked = client.asking(RequestAcceptance(order_id=order_id))
    async with meanwhile(client, order_id, client.commit(asked)) as (order, _):
        use_cases.cancel_order(order, "changed my mind")
    assert client.answered() == [(asked.id, "OrderDeclined")]


async def test_a_shop_that_waits_for_the_cancel_is_told_that_it_came_too_late(client: Client) -> None:
    order_id, asked = await waiting_for_the_shop(client)
    async with meanwhile(client, order_id, client.post(f"/v1/orders/{order_id}/accept")) as (order, accepting):
        use_cases.cancel_order(order, "changed my mind")
    assert accepting.result().status_code == 409
    assert client.answered() == [(asked.id, "OrderDeclined")]


async def test_groups_in_opposite_order_and_people_do_not_deadlock(client: Client) -> None:
    orders = [await client.placed() for _ in range(10)]
    asks = [client.asking(RequestAcceptance(order_id=order_id)) for order_id in orders]
    undone = [client.asking(WithdrawAcceptance(order_id=order_id)) for order_id in orders]
    people = [client.post(f"/v1/orders/{order_id}/accept") for order_id in orders[::2]] + [client.cancel(one) for one in orders[::-3]]
    await asyncio.gather(client.commit(*asks), client.commit(*asks[::-1]), client.commit(*undone[::-1]), client.commit(*undone), *people)
    told = client.answered()
    # Each command has one answer, however often it was sent, and nobody waits any more.
    assert {command for command, _ in told} == {one.id for one in (*asks, *undone)}
    assert len(set(told)) == len(asks) + len(undone)
    assert await client.count("unanswered") == 0
