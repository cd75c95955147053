"""What orders decides about the shop's word: it counts once, and whoever waits for it is told exactly once."""

from uuid import uuid4

import pytest

from contracts.messages import LATER
from contracts.orders import AcceptanceWithdrawn, OrderAccepted, OrderDeclined, RequestAcceptance, WithdrawAcceptance
from contracts.values import OrderId, OrderStatus
from services.orders.acceptance import Acceptance, AcceptanceState, IllegalAcceptance
from services.orders.order import NotAwaitingAcceptance, Order, OrderBook, UnknownOrder
from services.orders.use_cases import accept_order, cancel_order, decline_order, request_acceptance, withdraw_acceptance

ORDER = OrderId(uuid4())
REQUEST, WITHDRAW = RequestAcceptance(order_id=ORDER), WithdrawAcceptance(order_id=ORDER)
NEW, WAITING, ACCEPTED, DECLINED, WITHDRAWN = AcceptanceState


def book(state: AcceptanceState = NEW, status: OrderStatus = OrderStatus.PENDING) -> OrderBook:
    return OrderBook({ORDER: Order(ORDER, status, acceptance=Acceptance(state))})


def test_the_shop_is_asked_and_answers_later() -> None:
    orders = book()
    assert request_acceptance(REQUEST, orders) is LATER
    order = orders.find(ORDER)
    assert (order.awaits_acceptance, order.changed, order.acceptance.ends_wait) == (True, True, False)
    order.changed = False
    assert request_acceptance(REQUEST, orders) is LATER
    assert not order.changed


@pytest.mark.parametrize(("decide", "answer"), [(accept_order, OrderAccepted()), (decline_order, OrderDeclined())])
def test_the_shops_word_ends_the_wait_and_answers_whoever_asks_again(decide: object, answer: object) -> None:
    assert callable(decide)
    orders = book(WAITING)
    order = orders.find(ORDER)
    decide(order)
    assert (order.awaits_acceptance, order.changed, order.acceptance.ends_wait) == (False, True, True)
    assert request_acceptance(REQUEST, orders) == order.acceptance.answer == answer


def test_the_same_word_again_changes_nothing() -> None:
    for decide, state in ((accept_order, ACCEPTED), (decline_order, DECLINED)):
        order = book(state).find(ORDER)
        decide(order)
        assert not order.changed
        assert not order.acceptance.ends_wait


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (NEW, OrderStatus.PENDING, "does not wait for the shop to accept or decline it; it is PENDING"),
        (DECLINED, OrderStatus.PENDING, "was declined already"),
        (WITHDRAWN, OrderStatus.REJECTED, "does not wait for the shop any more; it is REJECTED"),
        (WITHDRAWN, OrderStatus.CANCELLING, "does not wait for the shop any more; it is CANCELLING"),
        # An operator answered for the shop, and the order went on.
        (WAITING, OrderStatus.CONFIRMED, "does not wait for the shop any more; it is CONFIRMED"),
    ],
)
def test_an_order_that_does_not_wait_cannot_be_accepted(state: AcceptanceState, status: OrderStatus, words: str) -> None:
    order = book(state, status).find(ORDER)
    with pytest.raises(NotAwaitingAcceptance, match=words):
        accept_order(order)
    assert not order.changed


def test_an_accepted_order_cannot_be_declined() -> None:
    with pytest.raises(NotAwaitingAcceptance, match="was accepted already"):
        decline_order(book(ACCEPTED).find(ORDER))


def test_a_withdrawal_tells_whoever_waits_that_the_order_is_declined() -> None:
    orders = book(WAITING)
    assert withdraw_acceptance(WITHDRAW, orders) == AcceptanceWithdrawn()
    acceptance = orders.find(ORDER).acceptance
    assert (acceptance.state, acceptance.ends_wait, acceptance.answer) == (WITHDRAWN, True, OrderDeclined())


def test_a_wait_that_ended_in_a_group_is_told_of_whatever_else_the_group_does() -> None:
    orders = book(WAITING)
    accept_order(orders.find(ORDER))
    withdraw_acceptance(WITHDRAW, orders)
    acceptance = orders.find(ORDER).acceptance
    assert (acceptance.ends_wait, acceptance.answer) == (True, OrderDeclined())


@pytest.mark.parametrize("state", [NEW, ACCEPTED, DECLINED, WITHDRAWN])
def test_after_a_withdrawal_nobody_is_asked(state: AcceptanceState) -> None:
    orders = book(state)
    assert [withdraw_acceptance(WITHDRAW, orders) for _ in range(2)] == [AcceptanceWithdrawn()] * 2
    assert request_acceptance(REQUEST, orders) == OrderDeclined()
    # Nobody waited.
    assert not orders.find(ORDER).acceptance.ends_wait


def test_cancelling_tells_whoever_waits_for_the_shop_at_once() -> None:
    order = book(WAITING).find(ORDER)
    cancel_order(order, "changed my mind")
    assert (order.acceptance.state, order.acceptance.ends_wait, order.acceptance.answer) == (WITHDRAWN, True, OrderDeclined())


def test_an_order_cancelled_before_the_shop_was_asked_is_declined_when_it_is() -> None:
    orders = book()
    cancel_order(orders.find(ORDER), "changed my mind")
    assert request_acceptance(REQUEST, orders) == OrderDeclined()
    assert not orders.find(ORDER).awaits_acceptance


def test_cancelling_an_accepted_order_leaves_the_shops_word() -> None:
    for status in (OrderStatus.PENDING, OrderStatus.CONFIRMED):
        orders = book(ACCEPTED, status)
        cancel_order(orders.find(ORDER), "changed my mind")
        assert request_acceptance(REQUEST, orders) == OrderAccepted()


def test_an_unknown_order_is_a_bug() -> None:
    with pytest.raises(UnknownOrder):
        request_acceptance(REQUEST, OrderBook({}))
    with pytest.raises(UnknownOrder):
        withdraw_acceptance(WITHDRAW, OrderBook({}))


LEGAL = {(NEW, WAITING), (NEW, WITHDRAWN), (WAITING, ACCEPTED), (WAITING, DECLINED), (WAITING, WITHDRAWN), (ACCEPTED, WITHDRAWN)}


@pytest.mark.parametrize("state", AcceptanceState)
@pytest.mark.parametrize("wanted", AcceptanceState)
def test_an_acceptance_takes_no_step_that_its_life_does_not_have(state: AcceptanceState, wanted: AcceptanceState) -> None:
    acceptance = Acceptance(state)
    if (state, wanted) in LEGAL:
        acceptance.become(wanted)
        assert acceptance.state is wanted
    else:
        with pytest.raises(IllegalAcceptance, match=f"is {state} cannot become {wanted}"):
            acceptance.become(wanted)
