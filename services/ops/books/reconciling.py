"""What is wrong when the books of all services are laid side by side, and the command that mends each thing. Pure.

There is no moment at which all books are read, so a rule speaks only of what has come to rest: an order of which no book has moved
for a while, and whose saga has ended unless the rule is about just that. services/ops/books/comparing.py looks twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from contracts.values import OrderStatus, TenantId
from infra.reconcile import Imbalance, Line

PLACING: Final = "place-order"
CANCELLING: Final = "cancel-order"


class Kind(StrEnum):
    """What can be wrong."""

    ORDER_WITHOUT_SAGA = "order-without-saga"
    CANCEL_WITHOUT_SAGA = "cancel-without-saga"
    ORDER_LEFT_BEHIND = "order-left-behind"
    SAGA_WITHOUT_ORDER = "saga-without-order"
    ORPHAN_STOCK = "orphan-stock"
    ORPHAN_QUOTA = "orphan-quota"
    ORPHAN_CHARGE = "orphan-charge"
    ORPHAN_PAYMENT = "orphan-payment"
    UNCONSUMED_STOCK = "unconsumed-stock"
    UNSETTLED_QUOTA = "unsettled-quota"
    FORGOTTEN_ORDER = "forgotten-order"
    STOCK_DIFFERS = "stock-differs"
    QUOTA_DIFFERS = "quota-differs"
    CHARGE_DIFFERS = "charge-differs"
    PAYMENT_DIFFERS = "payment-differs"
    PAYMENT_NOT_TAKEN = "payment-not-taken"
    STOCK_UNBALANCED = "stock-unbalanced"
    QUOTA_UNBALANCED = "quota-unbalanced"
    LEDGER_UNBALANCED = "ledger-unbalanced"


@dataclass(frozen=True, slots=True)
class Mend:
    """Who mends it, and what that service calls it."""

    service: str
    name: str


MENDS: Final[Mapping[Kind, Mend]] = {
    Kind.ORDER_WITHOUT_SAGA: Mend("orders", "start"),
    Kind.CANCEL_WITHOUT_SAGA: Mend("orders", "start"),
    Kind.ORDER_LEFT_BEHIND: Mend("orders", "finish"),
    Kind.ORPHAN_STOCK: Mend("inventory", "release"),
    Kind.ORPHAN_QUOTA: Mend("tenants", "release"),
    Kind.ORPHAN_CHARGE: Mend("tenants", "refund"),
    Kind.ORPHAN_PAYMENT: Mend("payments", "give-back"),
    Kind.UNCONSUMED_STOCK: Mend("inventory", "consume"),
    Kind.UNSETTLED_QUOTA: Mend("tenants", "settle"),
    Kind.FORGOTTEN_ORDER: Mend("orders", "close"),
    Kind.STOCK_DIFFERS: Mend("orders", "cancel"),
    Kind.QUOTA_DIFFERS: Mend("orders", "cancel"),
    Kind.CHARGE_DIFFERS: Mend("orders", "cancel"),
    Kind.PAYMENT_DIFFERS: Mend("orders", "cancel"),
    Kind.PAYMENT_NOT_TAKEN: Mend("payments", "capture"),
    Kind.STOCK_UNBALANCED: Mend("inventory", "recount"),
    Kind.QUOTA_UNBALANCED: Mend("tenants", "recount"),
    Kind.LEDGER_UNBALANCED: Mend("tenants", "balance"),
}
"""A saga is mended by the operators' verbs."""

_BY_CANCELLING: Final = (Kind.STOCK_DIFFERS, Kind.QUOTA_DIFFERS, Kind.CHARGE_DIFFERS, Kind.PAYMENT_DIFFERS)
TOTALS: Final = (Kind.STOCK_UNBALANCED, Kind.QUOTA_UNBALANCED, Kind.LEDGER_UNBALANCED)
"""What is mended before anything else, because everything else goes by it."""
_UNBALANCED: Final = {"stock": Kind.STOCK_UNBALANCED, "quota": Kind.QUOTA_UNBALANCED, "ledger": Kind.LEDGER_UNBALANCED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. `since`: nothing about it has moved since then; `key` is the order, or what does not balance."""

    tenant_id: TenantId
    kind: Kind
    key: str
    what: str
    since: datetime
    command: str

    @property
    def id(self) -> UUID:
        """The same for the same thing wrong, whenever it is found."""
        return uuid5(self.tenant_id, f"{self.kind} {self.key}")

    @property
    def is_mendable(self) -> bool:
        """The desk itself has a command that mends it."""
        return self.command.startswith("oaas reconcile mend")


@dataclass(frozen=True, slots=True)
class Story:
    """One order in all books."""

    lines: Sequence[Line]

    def line(self, book: str) -> Line | None:
        return next((line for line in self.lines if line.book == book), None)

    def state(self, book: str) -> str | None:
        line = self.line(book)
        return None if line is None else line.state

    def pence(self, book: str) -> int:
        line = self.line(book)
        return 0 if line is None else line.pence

    @property
    def order(self) -> Line | None:
        return self.line("order")

    @property
    def sagas(self) -> list[Line]:
        return [line for line in self.lines if line.book in (PLACING, CANCELLING)]

    @property
    def has_open_saga(self) -> bool:
        return any(line.state not in _ENDED for line in self.sagas)

    @property
    def since(self) -> datetime:
        """When any book of it moved last."""
        return max(line.changed_at for line in self.lines)


_ENDED: Final = ("COMPLETED", "ABANDONED")
_HELD: Final = "HELD"
_OVER: Final = (None, OrderStatus.REJECTED, OrderStatus.CANCELLED)
_KEPT: Final = (OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.READY, OrderStatus.COMPLETED)
_WITH_THE_SHOP: Final = (OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.READY)
_IS: Final[Mapping[str | None, str]] = {None: "there is no such order"}
_Wrong = Iterator[tuple[Kind, str]]


def of_order(tenant_id: TenantId, lines: Sequence[Line], now: datetime, forgotten: timedelta) -> list[Finding]:
    """Everything that is wrong with one order that is at rest; `lines` is not empty."""
    story = Story(lines)
    found = [one for rule in _RULES for one in rule(story)]
    if story.since <= now - forgotten:
        found += _forgotten(story)
    key = str(lines[0].subject)
    return [
        Finding(tenant_id=tenant_id, kind=kind, key=key, what=what, since=story.since, command=_command(tenant_id, kind, key, story))
        for kind, what in found
    ]


def of_totals(tenant_id: TenantId, imbalances: Iterable[Imbalance]) -> list[Finding]:
    """Each total that is not the sum of what it is made of."""
    found = []
    for one in imbalances:
        kind = _UNBALANCED[one.book]
        what = f"{one.key}: stored is {one.stored}, its parts say {one.counted}"
        verb = "accept" if one.stored.startswith("no ") else "mend"
        command = f"oaas reconcile {verb} {kind} --tenant {tenant_id} --key '{one.key}' --reason '...'"
        found.append(Finding(tenant_id=tenant_id, kind=kind, key=one.key, what=what, since=one.changed_at, command=command))
    return found


def _unstarted(story: Story) -> _Wrong:
    """An order that waits for a saga which there is not: its first event was lost, or is a dead letter."""
    order = story.order
    if order is None:
        return
    if order.was != OrderStatus.CONFIRMED and order.state in (OrderStatus.PENDING, OrderStatus.CANCELLING) and not story.line(PLACING):
        yield Kind.ORDER_WITHOUT_SAGA, f"the order is {order.state} and has no saga that places it"
    if order.was == OrderStatus.CONFIRMED and order.state == OrderStatus.CANCELLING and not story.line(CANCELLING):
        yield Kind.CANCEL_WITHOUT_SAGA, "the order is CANCELLING and has no saga that cancels it"


def _left_behind(story: Story) -> _Wrong:
    """An order that waits for a saga which has ended."""
    order = story.order
    if order is None or order.state not in (OrderStatus.PENDING, OrderStatus.CANCELLING):
        return
    name = CANCELLING if order.was == OrderStatus.CONFIRMED else PLACING
    saga = story.line(name)
    if saga is not None and saga.state in _ENDED:
        yield Kind.ORDER_LEFT_BEHIND, f"the order is {order.state} and its saga {name} is {saga.state}"


def _ownerless(story: Story) -> _Wrong:
    if story.order is None:
        for saga in story.sagas:
            if saga.state not in _ENDED:
                yield Kind.SAGA_WITHOUT_ORDER, f"the saga {saga.book} is {saga.state}, and there is no such order"


def _orphans(story: Story) -> _Wrong:
    """What is held for an order that has ended without it. While a saga is open, it may still give it back."""
    status = None if story.order is None else story.order.state
    if status not in _OVER or story.has_open_saga:
        return
    because = _IS.get(status, f"the order is {status}")
    if story.state("stock") == _HELD:
        yield Kind.ORPHAN_STOCK, f"stock is held, and {because}"
    if story.state("quota") == _HELD:
        yield Kind.ORPHAN_QUOTA, f"a place in the quota is held, and {because}"
    if net := story.pence("ledger"):
        yield Kind.ORPHAN_CHARGE, f"the ledger has {net} pence of it, and {because}"
    payment = story.line("payment")
    # What is wanted back is on its way: the provider is called for it until it is.
    if payment is not None and payment.pence and payment.was != "RETURNED":
        yield Kind.ORPHAN_PAYMENT, f"its payment of {payment.pence} pence is {payment.state}, and {because}"


def _unused(story: Story) -> _Wrong:
    """What is held for an order whose customer has the goods."""
    if story.order is None or story.order.state != OrderStatus.COMPLETED:
        return
    if story.state("stock") == _HELD:
        yield Kind.UNCONSUMED_STOCK, "the order is COMPLETED, and its stock is held still"
    if story.state("quota") == _HELD:
        yield Kind.UNSETTLED_QUOTA, "the order is COMPLETED, and its place in the quota is held still"


def _forgotten(story: Story) -> _Wrong:
    if story.order is not None and story.order.state in _WITH_THE_SHOP and story.state("stock") == _HELD:
        yield Kind.FORGOTTEN_ORDER, f"the order is {story.order.state} and holds stock, and nobody has moved it for long"


def _differing(story: Story) -> _Wrong:
    """An order that was confirmed is held in full, costs what it comes to, and is paid as it should be."""
    order = story.order
    if order is None or order.state not in _KEPT or story.has_open_saga:
        return
    used = order.state == OrderStatus.COMPLETED
    stock, quota = story.line("stock"), story.line("quota")
    if stock is None or stock.state not in (_HELD, "CONSUMED")[: 2 if used else 1] or stock.goods != order.goods:
        yield Kind.STOCK_DIFFERS, f"the order is {order.state} with {order.goods}, its stock is {_standing(stock)}"
    if quota is None or quota.state not in (_HELD, "SETTLED")[: 2 if used else 1] or quota.pence != order.pence:
        yield Kind.QUOTA_DIFFERS, f"the order is {order.state} with {order.pence} pence, its place in the quota is {_standing(quota)}"
    yield from _costs(story, order)


def _costs(story: Story, order: Line) -> _Wrong:
    placing = story.line(PLACING)
    # The first version of placing an order had no ledger.
    if placing is not None and placing.was != "1" and story.pence("ledger") != order.pence:
        yield (
            Kind.CHARGE_DIFFERS,
            f"the order of {order.pence} pence is {order.state}, and the ledger has {story.pence('ledger')} pence of it",
        )
    payment = story.line("payment")
    if (order.pence if order.by_card else 0) != story.pence("payment"):
        how = "by card" if order.by_card else "on account"
        yield Kind.PAYMENT_DIFFERS, f"the order of {order.pence} pence goes {how} and is {order.state}, its payment is {_standing(payment)}"
    elif payment is not None and payment.was == payment.state == "AUTHORISED":
        yield Kind.PAYMENT_NOT_TAKEN, f"the order is {order.state}, and nobody has asked for its payment to be taken"


def _standing(line: Line | None) -> str:
    if line is None:
        return "not there"
    return f"{line.state} with {line.goods or f'{line.pence} pence'}"


_RULES: Final[tuple[Callable[[Story], _Wrong], ...]] = (_unstarted, _left_behind, _ownerless, _orphans, _unused, _differing)


def _command(tenant_id: TenantId, kind: Kind, key: str, story: Story) -> str:
    if kind is Kind.SAGA_WITHOUT_ORDER:
        return next(f"{saga.command} --reason '...'" for saga in story.sagas if saga.state not in _ENDED)
    # What the shop has begun with cannot be cancelled, and nobody can take stock or money for it after the fact.
    can_be_mended = kind not in _BY_CANCELLING or (story.order is not None and story.order.state == OrderStatus.CONFIRMED)
    return f"oaas reconcile {'mend' if can_be_mended else 'accept'} {kind} --tenant {tenant_id} --order {key} --reason '...'"
