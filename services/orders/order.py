"""An order as commands and people move it: the one place that knows what may become of it. No session, no clock, no SQL.

DRAFT -> PENDING -> CONFIRMED -> PREPARING -> READY -> COMPLETED
            |           |
            |           +--> CANCELLING -> CANCELLED   the client did not want it any more: cancel-order undoes it
            +--------------> CANCELLING -> CANCELLED   the same, before it was confirmed: place-order undoes it
            +--------------> REJECTED                  the saga could not get everything

The status is the arbiter of cancel against place: whoever locks the order's row first decides which of the two sagas undoes it, and
`cancelled_from` remembers that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from contracts.values import OrderId, OrderStatus, Rejection
from services.orders.acceptance import Acceptance, AcceptanceState


class UnknownOrder(LookupError):
    """The tenant has no such order."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"there is no order {order_id}")
        self.order_id = order_id


class IllegalTransition(Exception):
    """An order cannot become that from where it is."""

    def __init__(self, order_id: UUID, status: OrderStatus, wanted: OrderStatus) -> None:
        super().__init__(f"order {order_id} is {status} and cannot become {wanted}")
        self.order_id = order_id
        self.status = status
        self.wanted = wanted
        self.legal = _NEXT[status]


class UndoneByPlacing(Exception):
    """An order that was never confirmed is undone by the saga that placed it; another that ends it would undo it twice."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"order {order_id} was cancelled before it was confirmed: the saga that placed it undoes and ends it")
        self.order_id = order_id


class NotAwaitingAcceptance(Exception):
    """Nobody waits for the shop to accept or decline the order."""

    def __init__(self, order_id: UUID, status: OrderStatus, state: AcceptanceState) -> None:
        super().__init__(f"order {order_id} {_NOT_AWAITING[state]}; it is {status}")
        self.order_id = order_id
        self.status = status
        self.state = state


_NOT_AWAITING: Final[Mapping[AcceptanceState, str]] = {
    AcceptanceState.NEW: "does not wait for the shop to accept or decline it",
    AcceptanceState.WAITING: "does not wait for the shop any more",
    AcceptanceState.ACCEPTED: "was accepted already",
    AcceptanceState.DECLINED: "was declined already",
    AcceptanceState.WITHDRAWN: "does not wait for the shop any more",
}

_NEXT: Final[Mapping[OrderStatus, tuple[OrderStatus, ...]]] = {
    OrderStatus.DRAFT: (OrderStatus.PENDING,),
    OrderStatus.PENDING: (OrderStatus.CONFIRMED, OrderStatus.CANCELLING, OrderStatus.REJECTED),
    OrderStatus.CONFIRMED: (OrderStatus.PREPARING, OrderStatus.CANCELLING),
    OrderStatus.PREPARING: (OrderStatus.READY,),
    OrderStatus.READY: (OrderStatus.COMPLETED,),
    OrderStatus.COMPLETED: (),
    OrderStatus.CANCELLING: (OrderStatus.CANCELLED,),
    OrderStatus.CANCELLED: (),
    OrderStatus.REJECTED: (),
}

_APPROVED: Final = (OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.READY, OrderStatus.COMPLETED)
_CANCELLED: Final = (OrderStatus.CANCELLING, OrderStatus.CANCELLED)


@dataclass(slots=True)
class Order:
    """Where an order is in its life. `revision` counts its changes from 1."""

    order_id: OrderId
    status: OrderStatus
    rejection: Rejection | None = None
    revision: int = 1
    changed: bool = False
    paid_by_card: bool = False
    acceptance: Acceptance = field(default_factory=Acceptance)
    cancelled_from: OrderStatus | None = None
    """PENDING or CONFIRMED, whichever it was when its client cancelled it."""
    cancel_reason: str | None = None

    @property
    def is_approved(self) -> bool:
        """It was confirmed, however far it has come since, and also if it was cancelled afterwards."""
        return self.status in _APPROVED or self.cancelled_from is OrderStatus.CONFIRMED

    @property
    def is_cancelled(self) -> bool:
        """Its client does not want it any more, whether or not all is given back already."""
        return self.status in _CANCELLED

    @property
    def awaits_acceptance(self) -> bool:
        """Its saga waits for the shop. An order that went on without the shop's say, by an operator's word, does not."""
        return self.status is OrderStatus.PENDING and self.acceptance.state is AcceptanceState.WAITING

    def become(self, wanted: OrderStatus) -> None:
        """Raises IllegalTransition for a step that the life of an order does not have."""
        if wanted not in _NEXT[self.status]:
            raise IllegalTransition(self.order_id, self.status, wanted)
        self.status = wanted
        self._note_change()

    def reject(self, why: Rejection) -> None:
        """Raises IllegalTransition unless it is PENDING."""
        self.become(OrderStatus.REJECTED)
        self.rejection = why

    def cancel(self, reason: str) -> None:
        """Raises IllegalTransition unless it is PENDING or CONFIRMED."""
        before = self.status
        self.become(OrderStatus.CANCELLING)
        self.cancelled_from, self.cancel_reason = before, reason
        # Whoever waits for the shop is told now, so that the saga turns back at once instead of at its deadline.
        if before is OrderStatus.PENDING and self.acceptance.is_open:
            self.acceptance.become(AcceptanceState.WITHDRAWN)

    def ask_shop(self) -> None:
        """Have the shop decide, unless it was asked before or nobody is to be asked any more."""
        if self.acceptance.state is AcceptanceState.NEW:
            self._move_acceptance(AcceptanceState.WAITING)

    def decide_acceptance(self, wanted: AcceptanceState) -> None:
        """The shop's word, ACCEPTED or DECLINED; said again it changes nothing. Raises NotAwaitingAcceptance."""
        if self.acceptance.state is wanted:
            return
        if not self.awaits_acceptance:
            raise NotAwaitingAcceptance(self.order_id, self.status, self.acceptance.state)
        self._move_acceptance(wanted)

    def withdraw_acceptance(self) -> None:
        """Ask nobody, now and later. What the shop has declined stays declined."""
        if self.acceptance.state not in (AcceptanceState.DECLINED, AcceptanceState.WITHDRAWN):
            self._move_acceptance(AcceptanceState.WITHDRAWN)

    def _move_acceptance(self, wanted: AcceptanceState) -> None:
        self.acceptance.become(wanted)
        self._note_change()

    def _note_change(self) -> None:
        self.revision += 1
        self.changed = True


@dataclass(slots=True)
class OrderBook:
    """The orders of one tenant that a group of commands is about; each command sees what those before it did."""

    orders: dict[OrderId, Order]

    def find(self, order_id: OrderId) -> Order:
        """Raises UnknownOrder."""
        try:
            return self.orders[order_id]
        except KeyError:
            raise UnknownOrder(order_id) from None
