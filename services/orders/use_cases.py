"""What can be asked of orders: one pure decision each, on what the edge has loaded and will save."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from contracts.inventory import ProductListed, ShopOpened
from contracts.messages import Later
from contracts.orders import (
    AcceptanceWithdrawn,
    ApproveOrder,
    MarkOrderCancelled,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderCancelRequested,
    OrderCompleted,
    OrderDeclined,
    OrderMarkedCancelled,
    OrderPlaced,
    OrderRejected,
    RejectOrder,
    RequestAcceptance,
    WithdrawAcceptance,
)
from contracts.values import PENCE_MAX, QUANTITY_MAX, OrderId, OrderLine, OrderStatus, PaymentToken, ShopId, Sku
from services.orders.acceptance import AcceptanceState
from services.orders.model import Catalogue, KnownProduct, KnownShop
from services.orders.order import Order, OrderBook, UndoneByPlacing
from services.orders.pricing import PricedLine, vat_amounts

LINES_MAX: Final = 200
"""Most lines in one request."""


@dataclass(frozen=True, slots=True)
class AskedOrder:
    """What a client wants, as it was sent: at most LINES_MAX lines, a SKU may repeat."""

    shop_id: ShopId
    lines: tuple[OrderLine, ...]
    payment: PaymentToken | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """A PENDING order with its prices, and the event that starts its saga."""

    order_id: OrderId
    shop_id: ShopId
    lines: tuple[PricedLine, ...]
    total_pence: int
    vat_pence: int
    placed: OrderPlaced = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wrong:
    """One field of a request that cannot be placed. `unknown`: it may become known in a moment."""

    field: str
    message: str
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class NotPlaced:
    """Every wrong field, so that a client mends its request once."""

    wrong: tuple[Wrong, ...]

    @property
    def may_become_known(self) -> bool:
        """Something wrong is a shop or product that inventory's events may still be on their way for."""
        return any(one.unknown for one in self.wrong)


def place_order(
    asked: AskedOrder, shop: KnownShop | None, products: Mapping[Sku, KnownProduct], order_id: OrderId, now: datetime
) -> PlacedOrder | NotPlaced:
    """Price every line at its product's price of this moment; a repeated SKU is summed where it first stands."""
    wrong = tuple(_wrong_lines(asked, products))
    if shop is None:
        return NotPlaced((_unknown_shop(asked), *wrong))
    if wrong:
        return NotPlaced(wrong)
    lines = tuple(_priced(products[sku], quantity) for sku, quantity in _summed(asked).items())
    total_pence = sum(line.total_pence for line in lines)
    placed = OrderPlaced(
        order_id=order_id,
        shop_id=asked.shop_id,
        lines=tuple(OrderLine(sku=line.sku, quantity=line.quantity) for line in lines),
        total=total_pence,
        placed_at=now,
        vat=vat_amounts(lines),
        payment=asked.payment,
        accept_by_hand=shop.accepts_by_hand,
    )
    return PlacedOrder(order_id, asked.shop_id, lines, total_pence, sum(line.vat_pence for line in lines), placed)


def approve_order(command: ApproveOrder, book: OrderBook) -> OrderApproved | OrderCancelled:
    """Confirm the order, unless its client cancelled it first. Raises for a rejected or unknown one: the saga never asks that."""
    order = book.find(command.order_id)
    # Asked again, what was approved stays approved, also if it was cancelled since: then cancel-order undoes it, and nobody else.
    if order.is_approved:
        return OrderApproved()
    if order.is_cancelled:
        return OrderCancelled()
    order.become(OrderStatus.CONFIRMED)
    return OrderApproved()


def reject_order(command: RejectOrder, book: OrderBook) -> OrderRejected:
    """End the order: with the first reason given, or as CANCELLED. Raises for a confirmed or unknown one: the saga never asks that."""
    order = book.find(command.order_id)
    if order.status is OrderStatus.CANCELLING and not order.is_approved:
        # Everything is given back. A cancelled order ends cancelled, whatever else went wrong with it.
        order.become(OrderStatus.CANCELLED)
    elif order.status not in (OrderStatus.REJECTED, OrderStatus.CANCELLED):
        order.reject(command.rejection)
    return OrderRejected()


def cancel_order(order: Order, reason: str) -> OrderCancelRequested | None:
    """The client does not want it any more. The event starts the saga that undoes a confirmed order; again there is none.

    The saga that places a PENDING order learns it at its pivot, and undoes it itself. Raises IllegalTransition.
    """
    if order.is_cancelled:
        return None
    order.cancel(reason)
    return OrderCancelRequested(order_id=order.order_id, reason=reason, paid=order.paid_by_card) if order.is_approved else None


def mark_order_cancelled(command: MarkOrderCancelled, book: OrderBook) -> OrderMarkedCancelled:
    """End an order that was confirmed and then cancelled. Raises for any other one: the saga never asks that."""
    order = book.find(command.order_id)
    if order.is_cancelled and not order.is_approved:
        raise UndoneByPlacing(order.order_id)
    if order.status is not OrderStatus.CANCELLED:
        order.become(OrderStatus.CANCELLED)
    return OrderMarkedCancelled()


def request_acceptance(command: RequestAcceptance, book: OrderBook) -> OrderAccepted | OrderDeclined | Later:
    """Have the shop asked; what it has said already is the answer. Raises for an unknown order."""
    order = book.find(command.order_id)
    order.ask_shop()
    return order.acceptance.answer


def withdraw_acceptance(command: WithdrawAcceptance, book: OrderBook) -> AcceptanceWithdrawn:
    """Have nobody asked, now and later; whoever waits is told that the order is declined. Raises for an unknown order."""
    book.find(command.order_id).withdraw_acceptance()
    return AcceptanceWithdrawn()


def accept_order(order: Order) -> None:
    """Somebody in the shop will see to it. Raises NotAwaitingAcceptance."""
    order.decide_acceptance(AcceptanceState.ACCEPTED)


def decline_order(order: Order) -> None:
    """Nobody in the shop will see to it. Raises NotAwaitingAcceptance."""
    order.decide_acceptance(AcceptanceState.DECLINED)


def prepare_order(order: Order) -> None:
    """Somebody has begun to pick or cook it."""
    order.become(OrderStatus.PREPARING)


def ready_order(order: Order) -> None:
    """It waits for the customer."""
    order.become(OrderStatus.READY)


def complete_order(order: Order) -> OrderCompleted:
    """The customer has it: held stock is consumed and held quota settled by whoever hears this."""
    order.become(OrderStatus.COMPLETED)
    return OrderCompleted(order_id=order.order_id)


def learn_shop(event: ShopOpened, catalogue: Catalogue) -> None:
    """The shop takes orders from now on."""
    catalogue.add_shop(event)


def learn_product(event: ProductListed, catalogue: Catalogue) -> None:
    """The product is sold like this from now on, unless a newer version is known."""
    catalogue.add_product(event)


def _unknown_shop(asked: AskedOrder) -> Wrong:
    return Wrong("shop_id", f"there is no shop {asked.shop_id}; GET /v1/shops lists them", unknown=True)


def _wrong_lines(asked: AskedOrder, products: Mapping[Sku, KnownProduct]) -> Iterator[Wrong]:
    quantities: dict[Sku, int] = {}
    total_pence = 0
    for index, line in enumerate(asked.lines):
        product = products.get(line.sku)
        if product is None:
            yield Wrong(f"lines[{index}].sku", f"there is no product with SKU {line.sku}; GET /v1/products lists them", unknown=True)
            continue
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
        if quantities[line.sku] > QUANTITY_MAX:
            yield Wrong(f"lines[{index}].quantity", f"the order has more than {QUANTITY_MAX} of {line.sku} in all its lines: order fewer")
        total_pence += line.quantity * product.price_pence
        if total_pence > PENCE_MAX:
            yield Wrong(f"lines[{index}].quantity", f"with this line the order's total is more than {PENCE_MAX} pence: order fewer")


def _summed(asked: AskedOrder) -> dict[Sku, int]:
    quantities: dict[Sku, int] = {}
    for line in asked.lines:
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
    return quantities


def _priced(product: KnownProduct, quantity: int) -> PricedLine:
    return PricedLine.of(product.sku, product.name, quantity, product.price_pence, product.vat_rate)
