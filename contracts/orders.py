"""What `orders` understands and answers, and the life of an order as others see it."""

from pydantic import AwareDatetime, Field

from contracts.messages import Command, Event, Refusal, Reply
from contracts.values import OrderId, OrderLine, PaymentToken, Pence, Rejection, ShopId, VatAmount


class OrderPlaced(Event):
    """A client's order is PENDING. `total` includes VAT; a SKU appears once; `vat` adds up to `total`, each rate once."""

    order_id: OrderId
    shop_id: ShopId
    lines: tuple[OrderLine, ...] = Field(min_length=1)
    total: Pence
    placed_at: AwareDatetime
    vat: tuple[VatAmount, ...] = ()
    payment: PaymentToken | None = Field(default=None, repr=False, description="the card that pays for it; without one it goes on account")
    accept_by_hand: bool = Field(default=False, description="somebody in the shop has to accept it")


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


class OrderAccepted(Reply):
    """Somebody in the shop has accepted the order."""


class OrderDeclined(Refusal):
    """The shop does not want the order, or its asking was withdrawn before it arrived."""


class RequestAcceptance(Command[OrderAccepted | OrderDeclined]):
    """Let somebody in the shop accept or decline the order; answered when they have."""

    order_id: OrderId


class AcceptanceWithdrawn(Reply):
    """Nobody is asked to accept the order any more, and nobody will be."""


class WithdrawAcceptance(Command[AcceptanceWithdrawn]):
    """Undo `RequestAcceptance`, also one that has not arrived yet."""

    order_id: OrderId


class OrderCancelRequested(Event):
    """A CONFIRMED order's client does not want it any more; it is CANCELLING. (A PENDING one's saga learns it at its pivot.)"""

    order_id: OrderId
    reason: str = Field(min_length=1, max_length=200)
    paid: bool = Field(description="a payment was authorised or captured for it")


class OrderMarkedCancelled(Reply):
    """The order is CANCELLED."""


class MarkOrderCancelled(Command[OrderMarkedCancelled]):
    """End a CANCELLING order, once nothing is held for it and its money is given back."""

    order_id: OrderId


class OrderCompleted(Event):
    """The customer has the goods: held stock is consumed, held quota is settled."""

    order_id: OrderId
