"""What mending each thing that is wrong does, in one plain sentence, and what somebody has to agree to before. Pure.

What a customer would notice is named: an order that goes on or ends, goods that are on sale again, money. It is done only if whoever asks
names the same. Each sentence is about the books as they were read; the owner refuses if its own has moved since.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.values import OrderStatus
from infra.reconcile import Imbalance, Line
from services.ops.books.kinds import DIFFERING, Kind
from services.ops.books.story import ENDED, HELD, PLACING, Story


class Consequence(StrEnum):
    """What somebody has to name before it is done."""

    START_ORDER = "start-order"
    CONFIRM_ORDER = "confirm-order"
    COMPLETE_ORDER = "complete-order"
    REJECT_ORDER = "reject-order"
    CANCEL_ORDER = "cancel-order"
    RELEASE_STOCK = "release-stock"
    REFUND_CHARGE = "refund-charge"
    RETURN_PAYMENT = "return-payment"
    TAKE_PAYMENT = "take-payment"


@dataclass(frozen=True, slots=True)
class Effect:
    """What mending does. `confirm` is None if no customer would notice."""

    mending: str
    confirm: Consequence | None = None


NOTHING: Final = Effect("no command mends it, and accepting changes nothing: it is noted as known and right")
REPLAYED: Final = Effect("the lost message is sent again, and the order goes on as if it had never been lost")


def of_mending(kind: Kind, story: Story) -> Effect:
    """What mending this of the order does."""
    return _EFFECTS[kind](story)


def of_balancing(kind: Kind, one: Imbalance) -> Effect:
    """What mending this total does."""
    if kind is Kind.STOCK_UNBALANCED:
        return Effect(f"mending notes as held and consumed what the holds say, {one.counted}; what is on sale stays as it is")
    if kind is Kind.QUOTA_UNBALANCED:
        return Effect("mending notes as the month's totals what its holds and the ledger say; no order, goods or money moves")
    if one.lacks_refunds:
        return Effect(
            "mending enters the refunds that are missing, so that the order has cost its tenant nothing", Consequence.REFUND_CHARGE
        )
    return Effect("mending notes as the order's charge what its entries in the ledger say; no entry is added")


def _start(story: Story) -> Effect:
    order = _order(story)
    if order.state == OrderStatus.CANCELLING:
        return Effect("mending ends the order as CANCELLED, as its client wanted; nothing is held for it", Consequence.CANCEL_ORDER)
    if order.by_card:
        why = "because its card is not known any more; its client has to place it again"
        return Effect(f"mending rejects the order, {why}", Consequence.REJECT_ORDER)
    holds = f"{order.goods} are held and {order.pence} pence are charged"
    return Effect(f"mending places the order now: {holds}, and it is confirmed, or rejected if that cannot be", Consequence.START_ORDER)


def _cancel_again(story: Story) -> Effect:
    return Effect(f"mending goes on cancelling the order, as its client wanted: {_given_back(story)}", Consequence.CANCEL_ORDER)


def _finish(story: Story) -> Effect:
    order = _order(story)
    if order.state == OrderStatus.CANCELLING:
        return Effect("mending ends the order as CANCELLED; what is held for it still is found afterwards", Consequence.CANCEL_ORDER)
    if story.state(PLACING) == "COMPLETED":
        return Effect("mending confirms the order, as its saga has decided: its shop will prepare it", Consequence.CONFIRM_ORDER)
    return Effect("mending rejects the order, as its saga has decided", Consequence.REJECT_ORDER)


def _end_saga(story: Story) -> Effect:
    """It is done by the verb that is printed; that says by itself what it needs."""
    command = next((saga.command for saga in story.sagas if saga.state not in ENDED), "")
    for verb, does in _VERBS.items():
        if command.startswith(f"oaas saga {verb} "):
            return Effect(does.format(back=_given_back(story)))
    return Effect("the command changes nothing: it tells what the saga waits for")


_VERBS: Final[Mapping[str, str]] = {
    "cancel": "the command undoes what the saga has done, and ends it: {back}",
    "skip": "the command takes the missing answer as given, so that the saga can end",
    "retry": "the command asks again for the answer that is missing, and the saga goes on",
    "resume": "the command lets the saga go on",
}


def _release_stock(story: Story) -> Effect:
    stock = story.line("stock")
    goods = stock.goods if stock is not None else ""
    return Effect(f"mending releases what is held: {goods or 'nothing'} can be sold again", Consequence.RELEASE_STOCK)


def _release_quota(story: Story) -> Effect:
    pence = story.pence("quota")
    return Effect(f"mending frees its place in the tenant's month: one order and {pence} pence more can be ordered; no money moves")


def _refund(story: Story) -> Effect:
    return Effect(f"mending refunds {story.pence('ledger')} pence to the tenant in the ledger", Consequence.REFUND_CHARGE)


def _give_back(story: Story) -> Effect:
    return Effect(f"mending has the payment provider give {story.pence('payment')} pence back to the card", Consequence.RETURN_PAYMENT)


def _consume(story: Story) -> Effect:
    stock = story.line("stock")
    goods = stock.goods if stock is not None else ""
    return Effect(f"mending notes that {goods or 'nothing'} left the shop; what is on sale stays as it is")


def _settle(_story: Story) -> Effect:
    return Effect("mending notes that its place in the tenant's month is used for good; nobody is charged anything")


def _close(story: Story) -> Effect:
    if _order(story).state == OrderStatus.CONFIRMED:
        return _cancel(story)
    does = "completes the order, as if its customer had the goods: they count as gone, and nothing is given back"
    return Effect(f"mending {does}", Consequence.COMPLETE_ORDER)


def _cancel(story: Story) -> Effect:
    return Effect(f"mending cancels the order, as its client could: {_given_back(story)}", Consequence.CANCEL_ORDER)


def _differ(story: Story) -> Effect:
    return _cancel(story) if _order(story).state == OrderStatus.CONFIRMED else NOTHING


def _capture(story: Story) -> Effect:
    return Effect(f"mending has the payment provider take {story.pence('payment')} pence from the card", Consequence.TAKE_PAYMENT)


def _order(story: Story) -> Line:
    assert story.order is not None, "the rules find this with an order only"
    return story.order


def _given_back(story: Story) -> str:
    stock, back = story.line("stock"), []
    if stock is not None and stock.state == HELD:
        back.append(f"{stock.goods} can be sold again")
    if pence := story.pence("ledger"):
        back.append(f"{pence} pence are refunded in the ledger")
    if pence := story.pence("payment"):
        back.append(f"{pence} pence go back to the card")
    return ", ".join(back) or "nothing is held or charged"


_EFFECTS: Final[Mapping[Kind, Callable[[Story], Effect]]] = {
    Kind.ORDER_WITHOUT_SAGA: _start,
    Kind.CANCEL_WITHOUT_SAGA: _cancel_again,
    Kind.ORDER_LEFT_BEHIND: _finish,
    Kind.SAGA_WITHOUT_ORDER: _end_saga,
    Kind.ORPHAN_STOCK: _release_stock,
    Kind.ORPHAN_QUOTA: _release_quota,
    Kind.ORPHAN_CHARGE: _refund,
    Kind.ORPHAN_PAYMENT: _give_back,
    Kind.UNCONSUMED_STOCK: _consume,
    Kind.UNSETTLED_QUOTA: _settle,
    Kind.FORGOTTEN_ORDER: _close,
    Kind.PAYMENT_NOT_TAKEN: _capture,
    **dict.fromkeys(DIFFERING, _differ),
}
