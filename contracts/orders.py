"""What `orders` understands and answers, and the life of an order as others see it."""

from pydantic import AwareDatetime, Field

from contracts.messages import Command, Event, Refusal, Reply
from contracts.values import OrderId, OrderLine, Pence, Rejection, ShopId


class OrderPlaced(Event):
    """A client's order is PENDING. `total` includes VAT; a SKU appears once."""

    order_id: OrderId
    shop_id: ShopId
    lines: tuple[OrderLine, ...] = Field(min_length=1)
    total: Pence
    placed_at: AwareDatetime


class OrderApproved(Reply):
    """The order is CONFIRMED."""


class OrderCancelled(Refusal):
    """The order was cancelled before it could be confirmed."""


class ApproveOrder(Command[OrderApproved | OrderCancelled]):
    """Confirm the order: the point of no return."""

    order_id: OrderId


class OrderRejected(Reply):
    """The order is REJECTED."""


class RejectOrder(Command[OrderRejected]):
    """Reject the order, once nothing is held for it."""

    order_id: OrderId
    rejection: Rejection


class OrderCompleted(Event):
    """The customer has the goods: held stock is consumed, held quota is settled."""

    order_id: OrderId
