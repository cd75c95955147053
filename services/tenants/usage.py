"""What a tenant's orders of one month use of its limits, in places and in pence. No session, no clock, no SQL.

An order's amount counts once against the spending limit, whichever of its hold and its charge comes first:

    spent = charged - refunded          what the ledger says of the month
          + held + settled - covered    holds whose order the ledger says nothing of: not charged yet, or of a saga that never charges
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NewType

from contracts.values import Pence

Month = NewType("Month", str)
"""A calendar month in UTC, as in 2026-11."""


def month_of(time: datetime) -> Month:
    """The month that an order placed at `time` counts in; raises ValueError for a time without its zone."""
    if time.tzinfo is None:
        raise ValueError(f"{time} names no time zone, so its month is not known")
    return Month(time.astimezone(UTC).strftime("%Y-%m"))


class NotHeld(Exception):
    """More was given back, settled or covered than the month holds."""

    def __init__(self, usage: "Usage", pence: int) -> None:
        super().__init__(f"one order of {pence} pence is not among what is held: {usage}")
        self.usage = usage
        self.pence = pence


class NotCharged(Exception):
    """More was refunded than the month's orders were charged."""

    def __init__(self, usage: "Usage", pence: int) -> None:
        super().__init__(f"{pence} pence cannot be refunded, they were not charged: {usage}")
        self.usage = usage
        self.pence = pence


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tenant may use in one month, inclusive."""

    orders_per_month: int
    spending_limit_pence: Pence


@dataclass(slots=True)
class Usage:
    """One month's running totals, as a group of commands sees and moves them."""

    month: Month
    orders_held: int = 0
    orders_settled: int = 0
    pence_held: int = 0
    pence_settled: int = 0
    pence_charged: int = 0
    pence_refunded: int = 0
    pence_covered: int = 0
    """Of what is held and settled: the amounts of orders that were charged or refunded, which the ledger counts."""
    changed: bool = False

    @property
    def pence_spent(self) -> int:
        """What counts against the spending limit."""
        return self.pence_charged - self.pence_refunded + self.pence_held + self.pence_settled - self.pence_covered

    def has_place(self, limits: Limits) -> bool:
        """There may be one more order."""
        return self.orders_held + self.orders_settled + 1 <= limits.orders_per_month

    def can_spend(self, pence: int, limits: Limits) -> bool:
        """So much more may be spent; nothing more always may."""
        return pence <= 0 or self.pence_spent + pence <= limits.spending_limit_pence

    def hold(self, pence: Pence, *, covered: bool = False) -> None:
        self._move(held=1, pence_held=pence, pence_covered=pence if covered else 0)

    def release(self, pence: Pence, *, covered: bool = False) -> None:
        self._move(held=-1, pence_held=-pence, pence_covered=-pence if covered else 0)

    def settle(self, pence: Pence) -> None:
        self._move(held=-1, pence_held=-pence, settled=1, pence_settled=pence)

    def cover(self, pence: Pence) -> None:
        """A hold's amount is the ledger's to count from now on."""
        self._move(pence_covered=pence)

    def charge(self, pence: Pence) -> None:
        self.pence_charged += pence
        self.changed = True

    def refund(self, pence: Pence) -> None:
        if self.pence_refunded + pence > self.pence_charged:
            raise NotCharged(self, pence)
        self.pence_refunded += pence
        self.changed = True

    def _move(self, *, held: int = 0, pence_held: int = 0, settled: int = 0, pence_settled: int = 0, pence_covered: int = 0) -> None:
        orders, pence, kept = self.orders_held + held, self.pence_held + pence_held, self.pence_settled + pence_settled
        covered = self.pence_covered + pence_covered
        if orders < 0 or pence < 0 or not 0 <= covered <= pence + kept:
            raise NotHeld(self, abs(pence_held or pence_covered))
        self.orders_held, self.pence_held, self.pence_settled, self.pence_covered = orders, pence, kept, covered
        self.orders_settled += settled
        self.changed = True
