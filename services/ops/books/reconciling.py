"""What is wrong when the books of all services are laid side by side, and the command that mends each thing. Pure.

There is no moment at which all books are read, so a rule speaks only of what has come to rest: an order of which no book has moved
for a while, and whose saga has ended unless the rule is about just that. services/ops/books/comparing.py looks twice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from contracts.values import OrderStatus, TenantId
from infra.reconcile import Imbalance, Line
from services.ops.books.consequences import NOTHING, Consequence, of_balancing, of_mending
from services.ops.books.kinds import CAN_BE_RIGHT, DIFFERING, TOTALS, UNBALANCED, Kind
from services.ops.books.story import CANCELLING, ENDED, HELD, PLACING, Story

_ACCEPT: Final = "oaas reconcile accept"
_MEND: Final = "oaas reconcile mend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. `since`: nothing about it has moved since then; `key` is the order, or what does not balance."""

    tenant_id: TenantId
    kind: Kind
    key: str
    what: str
    since: datetime
    command: str
    mending: str = ""
    """What mending it does, in one sentence."""
    confirm: Consequence | None = None
    """What somebody has to name before it is mended, if a customer would notice."""

    @property
    def id(self) -> UUID:
        """The same for the same thing wrong, whenever it is found."""
        return uuid5(self.tenant_id, f"{self.kind} {self.key}")

    @property
    def is_mendable(self) -> bool:
        """The desk itself has a command that mends it."""
        return self.command.startswith(_MEND)

    @property
    def accepting(self) -> str | None:
        """The command that notes it as known and right, if it can be."""
        if self.command.startswith(_ACCEPT):
            return self.command
        return _typed(_ACCEPT, self.tenant_id, self.kind, self.key) if self.kind in CAN_BE_RIGHT else None


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
    key, told = str(lines[0].subject), []
    for kind, what in found:
        effect, command = of_mending(kind, story), _command(tenant_id, kind, key, story)
        told.append(
            Finding(
                tenant_id=tenant_id,
                kind=kind,
                key=key,
                what=what,
                since=story.since,
                command=command,
                mending=effect.mending,
                confirm=effect.confirm,
            )
        )
    return told


def of_totals(tenant_id: TenantId, imbalances: Iterable[Imbalance]) -> list[Finding]:
    """Each total that is not the sum of what it is made of."""
    found = []
    for one in imbalances:
        kind = UNBALANCED[one.book]
        is_mendable = not one.stored.startswith("no ")
        effect = of_balancing(kind, one) if is_mendable else NOTHING
        found.append(
            Finding(
                tenant_id=tenant_id,
                kind=kind,
                key=one.key,
                what=f"{one.key}: stored is {one.stored}, its parts say {one.counted}",
                since=one.changed_at,
                command=_typed(_MEND if is_mendable else _ACCEPT, tenant_id, kind, one.key),
                mending=effect.mending,
                confirm=effect.confirm,
            )
        )
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
    if saga is not None and saga.state in ENDED:
        yield Kind.ORDER_LEFT_BEHIND, f"the order is {order.state} and its saga {name} is {saga.state}"


def _ownerless(story: Story) -> _Wrong:
    if story.order is None:
        for saga in story.sagas:
            if saga.state not in ENDED:
                yield Kind.SAGA_WITHOUT_ORDER, f"the saga {saga.book} is {saga.state}, and there is no such order"


def _orphans(story: Story) -> _Wrong:
    """What is held for an order that has ended without it. While a saga is open, it may still give it back."""
    status = None if story.order is None else story.order.state
    if status not in _OVER or story.has_open_saga:
        return
    because = _IS.get(status, f"the order is {status}")
    if story.state("stock") == HELD:
        yield Kind.ORPHAN_STOCK, f"stock is held, and {because}"
    if story.state("quota") == HELD:
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
    if story.state("stock") == HELD:
        yield Kind.UNCONSUMED_STOCK, "the order is COMPLETED, and its stock is held still"
    if story.state("quota") == HELD:
        yield Kind.UNSETTLED_QUOTA, "the order is COMPLETED, and its place in the quota is held still"


def _forgotten(story: Story) -> _Wrong:
    if story.order is not None and story.order.state in _WITH_THE_SHOP and story.state("stock") == HELD:
        yield Kind.FORGOTTEN_ORDER, f"the order is {story.order.state} and holds stock, and nobody has moved it for long"


def _differing(story: Story) -> _Wrong:
    """An order that was confirmed is held in full, costs what it comes to, and is paid as it should be."""
    order = story.order
    if order is None or order.state not in _KEPT or story.has_open_saga:
        return
    used = order.state == OrderStatus.COMPLETED
    stock, quota = story.line("stock"), story.line("quota")
    if stock is None or stock.state not in (HELD, "CONSUMED")[: 2 if used else 1] or stock.goods != order.goods:
        yield Kind.STOCK_DIFFERS, f"the order is of {order.goods}, its stock is {_standing(stock, order)}"
    if quota is None or quota.state not in (HELD, "SETTLED")[: 2 if used else 1] or quota.pence != order.pence:
        yield Kind.QUOTA_DIFFERS, f"the order is of {order.pence} pence, its place in the quota is {_standing(quota, order)}"
    yield from _costs(story, order)


def _costs(story: Story, order: Line) -> _Wrong:
    placing = story.line(PLACING)
    # The first version of placing an order had no ledger.
    if placing is not None and placing.was != "1" and story.pence("ledger") != order.pence:
        yield (
            Kind.CHARGE_DIFFERS,
            f"the order is of {order.pence} pence, and the ledger has {story.pence('ledger')} pence of it",
        )
    payment = story.line("payment")
    if (order.pence if order.by_card else 0) != story.pence("payment"):
        how = "by card" if order.by_card else "on account"
        yield Kind.PAYMENT_DIFFERS, f"the order is of {order.pence} pence {how}, its payment is {_standing(payment, order)}"
    elif payment is not None and payment.was == payment.state == "AUTHORISED":
        yield Kind.PAYMENT_NOT_TAKEN, "the order is confirmed, and nobody has asked for its payment to be taken"


def _standing(line: Line | None, order: Line) -> str:
    # In the same words while the order goes on, so that what is accepted stays accepted: states only where they are what differs.
    if line is None:
        return "not there"
    if line.goods == order.goods or (not line.goods and line.pence == order.pence):
        return f"{line.state} while the order is {order.state}"
    return f"of {line.goods or f'{line.pence} pence'}" if line.goods or line.pence else line.state


_RULES: Final[tuple[Callable[[Story], _Wrong], ...]] = (_unstarted, _left_behind, _ownerless, _orphans, _unused, _differing)


def _typed(words: str, tenant_id: TenantId, kind: Kind, key: str) -> str:
    which = f"--key '{key}'" if kind in TOTALS else f"--order {key}"
    return f"{words} {kind} --tenant {tenant_id} {which} --reason '...'"


def _command(tenant_id: TenantId, kind: Kind, key: str, story: Story) -> str:
    if kind is Kind.SAGA_WITHOUT_ORDER:
        return next(f"{saga.command} --reason '...'" for saga in story.sagas if saga.state not in ENDED)
    # What the shop has begun with cannot be cancelled, and nobody can take stock or money for it after the fact.
    can_be_mended = kind not in DIFFERING or (story.order is not None and story.order.state == OrderStatus.CONFIRMED)
    return _typed(_MEND if can_be_mended else _ACCEPT, tenant_id, kind, key)
