"""What orders decides about cancelling: which saga undoes an order, and that nothing else does."""

from uuid import uuid4

import pytest

from contracts.orders import (
    ApproveOrder,
    MarkOrderCancelled,
    OrderApproved,
    OrderCancelled,
    OrderCancelRequested,
    OrderMarkedCancelled,
    OrderRejected,
    RejectOrder,
)
from contracts.values import OrderId, OrderStatus, Rejection
from services.orders.order import IllegalTransition, Order, OrderBook, UndoneByPlacing, UnknownOrder
from services.orders.use_cases import approve_order, cancel_order, mark_order_cancelled, prepare_order, reject_order

ORDER = OrderId(uuid4())
APPROVE, MARK = ApproveOrder(order_id=ORDER), MarkOrderCancelled(order_id=ORDER)


def reject(why: Rejection = Rejection.CANCELLED) -> RejectOrder:
    return RejectOrder(order_id=ORDER, rejection=why)


def cancelled(before: OrderStatus) -> OrderBook:
    """An order that was cancelled when it was PENDING or CONFIRMED."""
    order = Order(ORDER, before)
    cancel_order(order, "changed my mind")
    return OrderBook({ORDER: order})


def test_cancelling_a_pending_order_starts_no_saga() -> None:
    order = Order(ORDER, OrderStatus.PENDING)
    assert cancel_order(order, "changed my mind") is None
    assert (order.status, order.cancelled_from, order.cancel_reason) == (OrderStatus.CANCELLING, OrderStatus.PENDING, "changed my mind")
    assert (order.changed, order.revision) == (True, 2)


@pytest.mark.parametrize("paid", [True, False])
def test_cancelling_a_confirmed_order_starts_the_saga_that_undoes_it(paid: bool) -> None:
    order = Order(ORDER, OrderStatus.CONFIRMED, revision=2, paid_by_card=paid)
    assert cancel_order(order, "changed my mind") == OrderCancelRequested(order_id=ORDER, reason="changed my mind", paid=paid)
    assert (order.status, order.cancelled_from, order.revision) == (OrderStatus.CANCELLING, OrderStatus.CONFIRMED, 3)


@pytest.mark.parametrize("before", [OrderStatus.PENDING, OrderStatus.CONFIRMED])
def test_cancelling_again_starts_nothing_and_keeps_the_first_reason(before: OrderStatus) -> None:
    order = cancelled(before).find(ORDER)
    for status in (OrderStatus.CANCELLING, OrderStatus.CANCELLED):
        order.status, order.changed = status, False
        assert cancel_order(order, "another reason") is None
        assert (order.status, order.cancel_reason, order.changed) == (status, "changed my mind", False)


@pytest.mark.parametrize(
    "status", sorted(set(OrderStatus) - {OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.CANCELLING, OrderStatus.CANCELLED})
)
def test_any_other_order_cannot_be_cancelled(status: OrderStatus) -> None:
    order = Order(ORDER, status)
    with pytest.raises(IllegalTransition):
        cancel_order(order, "changed my mind")
    assert order == Order(ORDER, status)


def test_the_approval_of_an_order_cancelled_before_is_refused_again_and_again() -> None:
    book = cancelled(OrderStatus.PENDING)
    assert [approve_order(APPROVE, book) for _ in range(2)] == [OrderCancelled()] * 2
    reject_order(reject(), book)
    assert approve_order(APPROVE, book) == OrderCancelled()


def test_the_approval_of_an_order_cancelled_afterwards_stays_given() -> None:
    book = cancelled(OrderStatus.CONFIRMED)
    assert approve_order(APPROVE, book) == OrderApproved()
    assert book.find(ORDER).status is OrderStatus.CANCELLING
    mark_order_cancelled(MARK, book)
    assert approve_order(APPROVE, book) == OrderApproved()
    assert book.find(ORDER).status is OrderStatus.CANCELLED


@pytest.mark.parametrize("why", Rejection)
def test_an_order_cancelled_while_it_was_placed_ends_cancelled_whatever_else_went_wrong(why: Rejection) -> None:
    book = cancelled(OrderStatus.PENDING)
    assert [reject_order(reject(why), book) for _ in range(2)] == [OrderRejected()] * 2
    order = book.find(ORDER)
    assert (order.status, order.rejection, order.cancel_reason) == (OrderStatus.CANCELLED, None, "changed my mind")


def test_a_confirmed_order_that_was_cancelled_ends_when_it_is_marked() -> None:
    book = cancelled(OrderStatus.CONFIRMED)
    assert [mark_order_cancelled(MARK, book) for _ in range(2)] == [OrderMarkedCancelled()] * 2
    order = book.find(ORDER)
    assert (order.status, order.revision) == (OrderStatus.CANCELLED, 3)


def test_the_saga_that_placed_an_order_never_ends_one_that_the_other_undoes() -> None:
    book = cancelled(OrderStatus.CONFIRMED)
    with pytest.raises(IllegalTransition):
        reject_order(reject(), book)
    assert book.find(ORDER).status is OrderStatus.CANCELLING


def test_the_saga_that_cancels_never_ends_one_that_the_other_undoes() -> None:
    book = cancelled(OrderStatus.PENDING)
    with pytest.raises(UndoneByPlacing):
        mark_order_cancelled(MARK, book)
    reject_order(reject(), book)
    with pytest.raises(UndoneByPlacing):
        mark_order_cancelled(MARK, book)


@pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.REJECTED])
def test_an_order_that_nobody_cancelled_is_never_marked(status: OrderStatus) -> None:
    with pytest.raises(IllegalTransition):
        mark_order_cancelled(MARK, OrderBook({ORDER: Order(ORDER, status)}))
    with pytest.raises(UnknownOrder):
        mark_order_cancelled(MARK, OrderBook({}))


@pytest.mark.parametrize("before", [OrderStatus.PENDING, OrderStatus.CONFIRMED])
def test_nobody_prepares_an_order_that_is_cancelled(before: OrderStatus) -> None:
    with pytest.raises(IllegalTransition, match="is CANCELLING and cannot become PREPARING"):
        prepare_order(cancelled(before).find(ORDER))
