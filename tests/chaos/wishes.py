"""Who orders what, endlessly and by a seed, and what must come of it whatever happens on the way."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from contracts.values import Rejection

T = TypeVar("T")

PLENTY: Final = "Plenty"
SCARCE: Final = "Scarce"
SMALL_PLAN: Final = "Small Plan"
CLOSED: Final = "Closed"
TENANTS: Final[dict[str, str]] = {
    **{f"{PLENTY} {number}": PLENTY for number in range(1, 7)},
    **{f"{SCARCE} {number}": SCARCE for number in (1, 2)},
    **{f"{SMALL_PLAN} {number}": SMALL_PLAN for number in (1, 2)},
    f"{CLOSED} 1": CLOSED,
}
"""Tenants by name, and what is special about each."""
PRICES: Final = {"sourdough": 250, "oat-milk": 180, "cheddar": 425, "truffle": 3_900}

_SHARES: Final = {PLENTY: 70, SCARCE: 12, SMALL_PLAN: 12, CLOSED: 6}
_CARDS: Final = {
    "tok_ok": 68,
    "tok_refused": 10,
    "tok_late_0.3": 6,
    "tok_slow_0.3": 6,
    "tok_charge_then_timeout": 4,
    "tok_reset": 4,
    "tok_down_2": 2,
}
_BY_CARD: Final = 0.4
_TWICE: Final = 0.1
_WAITING: Final = 0.2


class Fate(StrEnum):
    """What the client does with its order, once it is confirmed or, if it cannot wait, before."""

    KEPT = "kept"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    CANCELLED_AT_ONCE = "cancelled at once"


_FATES: Final = {Fate.KEPT: 70, Fate.COMPLETED: 16, Fate.CANCELLED: 8, Fate.CANCELLED_AT_ONCE: 6}


@dataclass(frozen=True, slots=True)
class Wish:
    """One order that somebody is going to place; `number` makes its Idempotency-Key."""

    number: int
    tenant: str
    lines: Mapping[str, int]
    card: str | None
    fate: Fate
    is_sent_twice: bool
    """Two requests with its key at the same time."""
    waits: bool

    @property
    def outcome(self) -> str | None:
        """The one way in which it may end; None if that depends on who comes first."""
        if TENANTS[self.tenant] != PLENTY:
            return None
        if self.card == "tok_refused":
            return Rejection.PAYMENT_REFUSED.value
        return {Fate.KEPT: "CONFIRMED", Fate.COMPLETED: "COMPLETED"}.get(self.fate, "CANCELLED")


def wishes(seed: int) -> Iterator[Wish]:
    """The same wishes every time, without end."""
    chance = random.Random(f"wishes {seed}")
    by_sort = {sort: [name for name, its in TENANTS.items() if its == sort] for sort in _SHARES}
    number = 0
    while True:
        number += 1
        sort = _pick(chance, _SHARES)
        card = _pick(chance, _CARDS) if sort == PLENTY and chance.random() < _BY_CARD else None
        fate = _pick(chance, _FATES) if card != "tok_refused" else Fate.KEPT
        if sort != PLENTY and fate is not Fate.COMPLETED:
            # What is cancelled would make room for others, and nobody could say how many.
            fate = Fate.KEPT
        lines = {"truffle": 1} if sort == SCARCE else _lines(chance)
        yield Wish(number, chance.choice(by_sort[sort]), lines, card, fate, chance.random() < _TWICE, chance.random() < _WAITING)


def ends(sort: str, orders: int, room: int) -> Counter[str]:
    """How many of a tenant's orders end in which way, if there is `room` for so many."""
    rejection = {SCARCE: Rejection.OUT_OF_STOCK, SMALL_PLAN: Rejection.OVER_QUOTA, CLOSED: Rejection.TENANT_SUSPENDED}[sort]
    fit = 0 if sort == CLOSED else min(orders, room)
    return +Counter({"CONFIRMED": fit, rejection.value: orders - fit})


def as_confirmed(outcomes: Iterable[str]) -> Counter[str]:
    """Outcomes counted; an order that was completed was confirmed."""
    return Counter("CONFIRMED" if outcome == "COMPLETED" else outcome for outcome in outcomes)


def _pick(chance: random.Random, shares: Mapping[T, int]) -> T:
    return chance.choices(list(shares), list(shares.values()))[0]


def _lines(chance: random.Random) -> dict[str, int]:
    skus = [sku for sku in PRICES if sku != "truffle"]
    return {sku: chance.randint(1, 5) for sku in sorted(chance.sample(skus, chance.randint(1, len(skus))))}
