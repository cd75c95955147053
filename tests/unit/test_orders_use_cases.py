"""What orders decides, on what was loaded."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.inventory import ProductListed
from contracts.orders import ApproveOrder, OrderApproved, OrderCancelled, OrderCompleted, OrderRejected, RejectOrder
from contracts.values import PENCE_MAX, QUANTITY_MAX, OrderId, OrderLine, OrderStatus, Rejection, ShopId, VatAmount, VatRate
from services.orders.model import Catalogue, KnownProduct, KnownShop
from services.orders.order import IllegalTransition, Order, OrderBook, UnknownOrder
from services.orders.use_cases import (
    AskedOrder,
    NotPlaced,
    PlacedOrder,
    approve_order,
    complete_order,
    learn_product,
    place_order,
    prepare_order,
    ready_order,
    reject_order,
)

TENANT, SHOP, ORDER = uuid4(), ShopId(uuid4()), OrderId(uuid4())
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
COUNTER = KnownShop(SHOP)
BY_HAND = KnownShop(SHOP, accepts_by_hand=True)


def product(sku: str, price_pence: int, vat_rate: VatRate = VatRate.STANDARD) -> KnownProduct:
    return KnownProduct(sku, sku.title(), price_pence, vat_rate)


def asked(*lines: tuple[str, int]) -> AskedOrder:
    return AskedOrder(SHOP, tuple(OrderLine(sku=sku, quantity=quantity) for sku, quantity in lines))


def place(order: AskedOrder, *products: KnownProduct, shop: KnownShop | None = COUNTER) -> PlacedOrder | NotPlaced:
    return place_order(order, shop, {one.sku: one for one in products}, ORDER, NOW)


def book(status: OrderStatus, rejection: Rejection | None = None) -> OrderBook:
    return OrderBook({ORDER: Order(ORDER, status, rejection)})


def test_an_order_is_priced_line_by_line() -> None:
    placed = place(asked(("CAKE", 3), ("MILK", 2)), product("CAKE", 1), product("MILK", 120, VatRate.ZERO))
    assert isinstance(placed, PlacedOrder)
    assert [(line.sku, line.total_pence, line.vat_pence) for line in placed.lines] == [("CAKE", 3, 1), ("MILK", 240, 0)]
    assert (placed.total_pence, placed.vat_pence) == (243, 1)


def test_a_repeated_sku_is_summed_where_it_first_stands() -> None:
    placed = place(asked(("CAKE", 1), ("MILK", 1), ("CAKE", 2)), product("CAKE", 100), product("MILK", 50))
    assert isinstance(placed, PlacedOrder)
    assert [(line.sku, line.quantity) for line in placed.lines] == [("CAKE", 3), ("MILK", 1)]


def test_the_event_says_what_was_placed() -> None:
    placed = place(asked(("CAKE", 1), ("CAKE", 2)), product("CAKE", 100))
    assert isinstance(placed, PlacedOrder)
    event = placed.placed
    assert (event.order_id, event.shop_id, event.total, event.placed_at) == (ORDER, SHOP, 300, NOW)
    assert event.lines == (OrderLine(sku="CAKE", quantity=3),)
    assert (event.payment, event.accept_by_hand) == (None, False)


def test_the_event_says_which_card_pays_and_whether_the_shop_is_asked() -> None:
    placed = place(replace(asked(("CAKE", 1)), payment="tok_ok"), product("CAKE", 100), shop=BY_HAND)
    assert isinstance(placed, PlacedOrder)
    assert (placed.placed.payment, placed.placed.accept_by_hand) == ("tok_ok", True)
    # Whatever is written about a request, in a log or an error, the card is not in it.
    assert "tok_ok" not in repr(placed) + repr(replace(asked(("CAKE", 1)), payment="tok_ok"))


def test_the_event_says_what_each_vat_rate_comes_to() -> None:
    products = [product("CAKE", 3), product("PIE", 3), product("MILK", 95, VatRate.ZERO)]
    placed = place(asked(("PIE", 1), ("MILK", 2), ("CAKE", 1)), *products)
    assert isinstance(placed, PlacedOrder)
    # 1 + 1: the VAT of each line is rounded, not that of their sum.
    zero, standard = VatAmount(rate=VatRate.ZERO, total=190, vat=0), VatAmount(rate=VatRate.STANDARD, total=6, vat=2)
    assert placed.placed.vat == (zero, standard)


def test_every_unknown_field_is_named() -> None:
    refused = place(asked(("CAKE", 1), ("NONE", 1), ("NADA", 1)), product("CAKE", 100), shop=None)
    assert isinstance(refused, NotPlaced)
    assert [wrong.field for wrong in refused.wrong] == ["shop_id", "lines[1].sku", "lines[2].sku"]
    assert refused.may_become_known


def test_too_many_units_are_named_beside_a_product_that_may_become_known() -> None:
    refused = place(asked(("CAKE", QUANTITY_MAX), ("NONE", 1), ("CAKE", 1)), product("CAKE", 1))
    assert isinstance(refused, NotPlaced)
    assert [wrong.field for wrong in refused.wrong] == ["lines[1].sku", "lines[2].quantity"]
    # Told at once, a product that is on its way would be denied for the other line's sake.
    assert refused.may_become_known


def test_a_total_that_no_json_reader_keeps_exact_is_refused_at_its_line() -> None:
    largest = place(asked(("CAKE", 1), ("GOLD", 2)), product("CAKE", 1), product("GOLD", PENCE_MAX // 2))
    assert isinstance(largest, PlacedOrder)
    assert largest.total_pence == PENCE_MAX
    refused = place(asked(("CAKE", 2), ("GOLD", 2)), product("CAKE", 1), product("GOLD", PENCE_MAX // 2))
    assert isinstance(refused, NotPlaced)
    assert [wrong.field for wrong in refused.wrong] == ["lines[1].quantity"]


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "C"]), st.integers(1, 1000)), min_size=1, max_size=20), st.data())
def test_totals_are_the_sums_of_the_lines(lines: list[tuple[str, int]], data: st.DataObject) -> None:
    products = [product(sku, data.draw(st.integers(0, 10**6)), data.draw(st.sampled_from(VatRate))) for sku in ("A", "B", "C")]
    placed = place(asked(*lines), *products)
    assert isinstance(placed, PlacedOrder)
    assert sum(line.quantity for line in placed.lines) == sum(quantity for _, quantity in lines)
    assert len({line.sku for line in placed.lines}) == len(placed.lines)
    assert placed.total_pence == sum(line.total_pence for line in placed.lines) == placed.placed.total
    assert placed.vat_pence == sum(line.vat_pence for line in placed.lines)
    amounts = placed.placed.vat
    assert (sum(one.total for one in amounts), sum(one.vat for one in amounts)) == (placed.total_pence, placed.vat_pence)
    assert len({one.rate for one in amounts}) == len(amounts)


def test_a_pending_order_is_confirmed_once_and_answers_the_same_again() -> None:
    orders = book(OrderStatus.PENDING)
    assert approve_order(ApproveOrder(order_id=ORDER), orders) == OrderApproved()
    assert approve_order(ApproveOrder(order_id=ORDER), orders) == OrderApproved()
    assert orders.find(ORDER) == Order(ORDER, OrderStatus.CONFIRMED, revision=2, changed=True)


@pytest.mark.parametrize("status", [OrderStatus.PREPARING, OrderStatus.READY, OrderStatus.COMPLETED])
def test_an_order_that_went_on_is_still_approved(status: OrderStatus) -> None:
    orders = book(status)
    assert approve_order(ApproveOrder(order_id=ORDER), orders) == OrderApproved()
    assert not orders.find(ORDER).changed


def test_a_cancelled_order_refuses_its_approval_and_stays_cancelled() -> None:
    orders = book(OrderStatus.CANCELLED)
    assert approve_order(ApproveOrder(order_id=ORDER), orders) == OrderCancelled()
    assert reject_order(RejectOrder(order_id=ORDER, rejection=Rejection.CANCELLED), orders) == OrderRejected()
    assert not orders.find(ORDER).changed


def test_a_rejection_keeps_its_first_reason() -> None:
    orders = book(OrderStatus.PENDING)
    for why in (Rejection.OUT_OF_STOCK, Rejection.NO_ANSWER):
        assert reject_order(RejectOrder(order_id=ORDER, rejection=why), orders) == OrderRejected()
    assert orders.find(ORDER) == Order(ORDER, OrderStatus.REJECTED, Rejection.OUT_OF_STOCK, 2, changed=True)


def test_approving_a_rejected_order_is_a_bug() -> None:
    with pytest.raises(IllegalTransition):
        approve_order(ApproveOrder(order_id=ORDER), book(OrderStatus.REJECTED, Rejection.FAULT))


@pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.READY, OrderStatus.COMPLETED])
def test_rejecting_a_confirmed_order_is_a_bug(status: OrderStatus) -> None:
    with pytest.raises(IllegalTransition):
        reject_order(RejectOrder(order_id=ORDER, rejection=Rejection.FAULT), book(status))


def test_an_unknown_order_is_a_bug() -> None:
    with pytest.raises(UnknownOrder):
        approve_order(ApproveOrder(order_id=ORDER), OrderBook({}))
    with pytest.raises(UnknownOrder):
        reject_order(RejectOrder(order_id=ORDER, rejection=Rejection.FAULT), OrderBook({}))


def test_people_move_an_order_from_confirmed_to_completed() -> None:
    order = Order(ORDER, OrderStatus.CONFIRMED)
    prepare_order(order)
    ready_order(order)
    assert complete_order(order) == OrderCompleted(order_id=ORDER)
    assert (order.status, order.revision) == (OrderStatus.COMPLETED, 4)


@pytest.mark.parametrize("status", [OrderStatus.COMPLETED, OrderStatus.CANCELLED, OrderStatus.REJECTED])
@pytest.mark.parametrize("wanted", OrderStatus)
def test_an_ended_order_never_moves(status: OrderStatus, wanted: OrderStatus) -> None:
    order = Order(ORDER, status)
    with pytest.raises(IllegalTransition) as illegal:
        order.become(wanted)
    assert illegal.value.legal == ()
    assert order == Order(ORDER, status)


def test_an_illegal_transition_names_the_legal_ones() -> None:
    with pytest.raises(IllegalTransition) as illegal:
        ready_order(Order(ORDER, OrderStatus.CONFIRMED))
    assert illegal.value.legal == (OrderStatus.PREPARING, OrderStatus.CANCELLING)


def test_an_older_version_of_a_product_never_replaces_a_newer_one() -> None:
    catalogue = Catalogue()
    for version in (2, 3, 1):
        listed = ProductListed(sku="CAKE", version=version, name="Cake", price_pence=version, vat_rate=VatRate.ZERO)
        learn_product(listed, catalogue)
    assert [listed.version for listed in catalogue.products.values()] == [3]
