"""Every order in which the client, the shop and the two sagas can get to an order's row: exactly one of the sagas undoes it, or neither.

The sagas are reduced to what they ask of orders; everything they give back elsewhere is one move, `undo`. Whatever can happen next is
tried in each position, so a run is a path to where nothing is left to do.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from contracts.messages import Later
from contracts.orders import (
    ApproveOrder,
    MarkOrderCancelled,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderDeclined,
    RejectOrder,
    RequestAcceptance,
    WithdrawAcceptance,
)
from contracts.values import OrderId, OrderStatus, Rejection
from services.orders import use_cases
from services.orders.order import IllegalTransition, NotAwaitingAcceptance, Order, OrderBook

ORDER = OrderId(UUID(int=1))
ENDS = (OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.REJECTED, OrderStatus.CANCELLED)


@dataclass
class World:
    """One order, where each saga is with it, and how often people may still do something."""

    by_hand: bool
    people: dict[str, int]
    order: Order = field(default_factory=lambda: Order(ORDER, OrderStatus.PENDING))
    placing: str = ""
    cancelling: str = "not started"
    repeats: dict[str, int] = field(default_factory=lambda: {"approve": 1, "reject": 1, "mark": 1, "request": 1})
    approved: object = None
    shop: object = None
    undone_by: tuple[str, ...] = ()
    events: int = 0

    def __post_init__(self) -> None:
        self.placing = self.placing or ("before the shop" if self.by_hand else "before the pivot")

    @property
    def book(self) -> OrderBook:
        return OrderBook({ORDER: self.order})

    def moves(self) -> Iterator[str]:
        """Everything that can happen now."""
        yield from (f"{who}" for who, left in self.people.items() if left)
        yield from {
            "before the shop": ("request", "give up"),
            "waiting for the shop": ("silence",),
            "before the pivot": ("approve", "give up"),
            "undoing": ("undo",),
            "rejecting": ("reject",),
        }.get(self.placing, ())
        yield from {"undoing": ("give back",), "marking": ("mark",)}.get(self.cancelling, ())
        yield from (f"{asked} again" for asked, left in self.repeats.items() if left and self.has_asked(asked))

    def has_asked(self, what: str) -> bool:
        return {
            "approve": self.approved is not None,
            "reject": self.placing == "ended",
            "mark": self.cancelling == "ended",
            "request": self.by_hand and self.placing != "before the shop",
        }[what]

    def make(self, move: str) -> "World":
        """The world after the move, and after what it says to the sagas."""
        then = deepcopy(self)
        if move in then.people:
            then.people[move] -= 1
        if move.endswith(" again"):
            then.repeats[move.removesuffix(" again")] -= 1
        _MOVES[move](then)
        then.save()
        return then

    def save(self) -> None:
        """As the repository does: whoever waits for the shop is told, once."""
        if self.order.acceptance.ends_wait:
            self.hear(self.order.acceptance.answer)
            self.order.acceptance.ends_wait = False

    def hear(self, answer: object) -> None:
        assert not isinstance(answer, Later)
        assert self.shop in (None, answer), f"the shop's word was {self.shop!r} and is {answer!r}"
        self.shop = answer
        if self.placing in ("before the shop", "waiting for the shop"):
            self.placing = "before the pivot" if answer == OrderAccepted() else "undoing"

    def violation(self) -> str | None:
        """What is wrong with how it ended."""
        status, before = self.order.status, self.order.cancelled_from
        expected: tuple[str, ...] = ()
        if status is OrderStatus.REJECTED or before is OrderStatus.PENDING:
            expected = ("place-order",)
        if before is OrderStatus.CONFIRMED:
            expected = ("cancel-order",)
        kept = status in ENDS and self.undone_by == expected and self.events == (before is OrderStatus.CONFIRMED)
        kept = kept and (status is OrderStatus.CANCELLED) == (before is not None) and self.order.cancel_reason in (None, "first")
        return None if kept else f"{status}, cancelled from {before}, undone by {self.undone_by}, {self.events} events"


def people(decide: Callable[[World], None]) -> Callable[[World], None]:
    """People are told 409, and change nothing."""

    def attempt(world: World) -> None:
        before = deepcopy(world.order)
        try:
            decide(world)
        except (IllegalTransition, NotAwaitingAcceptance):
            assert world.order == before

    return attempt


def cancel(world: World) -> None:
    event = use_cases.cancel_order(world.order, "first" if world.order.cancel_reason is None else "second")
    if event is not None:
        world.events += 1
        world.cancelling = "undoing"


def request(world: World) -> None:
    answer = use_cases.request_acceptance(RequestAcceptance(order_id=ORDER), world.book)
    if isinstance(answer, Later):
        world.placing = "waiting for the shop" if world.placing == "before the shop" else world.placing
    else:
        # The undo may have overtaken a second asking, or stand between the two.
        world.hear(answer) if world.shop is None else None
        assert answer == world.shop or (world.shop == OrderAccepted() and world.placing in ("undoing", "rejecting", "ended"))


def silence(world: World) -> None:
    use_cases.withdraw_acceptance(WithdrawAcceptance(order_id=ORDER), world.book)
    world.placing = "undoing"


def approve(world: World) -> None:
    answer = use_cases.approve_order(ApproveOrder(order_id=ORDER), world.book)
    assert world.approved in (None, answer), f"the approval was answered {world.approved!r} and then {answer!r}"
    if world.approved is None:
        world.approved = answer
        world.placing = "confirmed" if answer == OrderApproved() else "undoing"


def give_up(world: World) -> None:
    world.placing = "undoing"


def undo(world: World) -> None:
    if world.by_hand and world.shop != OrderDeclined():
        use_cases.withdraw_acceptance(WithdrawAcceptance(order_id=ORDER), world.book)
    world.undone_by += ("place-order",)
    world.placing = "rejecting"


def give_back(world: World) -> None:
    world.undone_by += ("cancel-order",)
    world.cancelling = "marking"


def reject(world: World) -> None:
    use_cases.reject_order(RejectOrder(order_id=ORDER, rejection=Rejection.OUT_OF_STOCK), world.book)
    world.placing = "ended"


def mark(world: World) -> None:
    use_cases.mark_order_cancelled(MarkOrderCancelled(order_id=ORDER), world.book)
    world.cancelling = "ended"


_MOVES: dict[str, Callable[[World], None]] = {
    "cancel": people(cancel),
    "prepare": people(lambda world: use_cases.prepare_order(world.order)),
    "accept": people(lambda world: use_cases.accept_order(world.order)),
    "decline": people(lambda world: use_cases.decline_order(world.order)),
    "request": request,
    "request again": request,
    "silence": silence,
    "give up": give_up,
    "approve": approve,
    "approve again": approve,
    "undo": undo,
    "reject": reject,
    "reject again": reject,
    "give back": give_back,
    "mark": mark,
    "mark again": mark,
}


def ends_of(first: World) -> dict[str, tuple[str, ...]]:
    """How it can end -> a shortest path there; fails on the first path whose end is wrong."""
    seen: set[str] = set()
    ends: dict[str, tuple[str, ...]] = {}
    paths: list[tuple[World, tuple[str, ...]]] = [(first, ())]
    while paths:
        world, path = paths.pop(0)
        moves = list(world.moves())
        if not moves:
            assert (wrong := world.violation()) is None, f"{wrong} after {', '.join(path)}"
            ends.setdefault(f"{world.order.status} from {world.order.cancelled_from}", path)
        for move in moves:
            then = world.make(move)
            if repr(then) not in seen:
                seen.add(repr(then))
                paths.append((then, (*path, move)))
    return ends


@pytest.mark.parametrize("shop", [{}, {"accept": 1}, {"decline": 1}, {"accept": 2, "decline": 1}], ids=str)
@pytest.mark.parametrize("client", [{}, {"cancel": 1}, {"cancel": 2}, {"cancel": 1, "prepare": 1}, {"cancel": 2, "prepare": 1}], ids=str)
def test_in_every_order_of_events_exactly_one_saga_undoes_what_is_undone(client: dict[str, int], shop: dict[str, int]) -> None:
    ends = ends_of(World(by_hand=bool(shop), people={**client, **shop}))
    cancelled = {"CANCELLED from PENDING", "CANCELLED from CONFIRMED"} if client else set()
    never_confirmed = shop == {"decline": 1}
    assert set(ends) >= {"REJECTED from None"} | (cancelled - {"CANCELLED from CONFIRMED"} if never_confirmed else cancelled)


@pytest.mark.parametrize("forgets", ["is_approved", "is_cancelled"])
def test_the_search_finds_an_order_undone_twice_or_not_at_all(monkeypatch: pytest.MonkeyPatch, forgets: str) -> None:
    only = {
        "is_approved": lambda order: order.status in (OrderStatus.CONFIRMED, OrderStatus.PREPARING),
        "is_cancelled": lambda order: order.status is OrderStatus.CANCELLED,
    }
    monkeypatch.setattr(Order, forgets, property(only[forgets]))
    with pytest.raises((AssertionError, IllegalTransition)):
        ends_of(World(by_hand=False, people={"cancel": 1}))


def test_a_cancelled_approval_is_a_refusal() -> None:
    world = World(by_hand=False, people={"cancel": 1}).make("cancel").make("approve")
    assert (world.approved, world.placing) == (OrderCancelled(), "undoing")
