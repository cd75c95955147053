"""Rows of the schema `tenants`, and the quota that a group of commands decides on. No session, no clock, no SQL.

A hold is the place that one order took in its month, or the note that it may take none any more:

    NEW -> HELD -> SETTLED       the order was completed
     |      |
     +------+----> WITHDRAWN     the order was undone, perhaps before it was asked for
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NewType
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Text
from sqlmodel import Field, SQLModel

from contracts.values import OrderId, Pence

SCHEMA: Final = {"schema": "tenants"}
TIMESTAMP: Final = DateTime(timezone=True)

Month = NewType("Month", str)
"""A calendar month in UTC, as in 2026-11."""


def month_of(time: datetime) -> Month:
    """The month that an order placed at `time` counts in; raises ValueError for a time without its zone."""
    if time.tzinfo is None:
        raise ValueError(f"{time} names no time zone, so its month is not known")
    return Month(time.astimezone(UTC).strftime("%Y-%m"))


class TenantStatus(StrEnum):
    """A SUSPENDED tenant still signs in; its orders are refused."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class Tenant(SQLModel, table=True):
    """A customer of the platform. The limits are per calendar month (UTC), inclusive."""

    __tablename__ = "tenant"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    name: str = Field(sa_type=Text)
    status: str = Field(default=TenantStatus.ACTIVE.value, sa_type=Text)
    orders_per_month: int = Field(sa_type=BigInteger)
    spending_limit_pence: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=TIMESTAMP)
    changed_at: datetime = Field(sa_type=TIMESTAMP)

    def become(self, status: TenantStatus, now: datetime) -> None:
        """Suspend or resume; again changes nothing."""
        if self.status != status:
            self.status = status.value
            self.changed_at = now


class QuotaMonth(SQLModel, table=True):
    """What a tenant's orders of one month hold and have settled."""

    __tablename__ = "quota"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    month: str = Field(sa_type=Text, primary_key=True)
    orders_held: int = Field(default=0, sa_type=BigInteger)
    orders_settled: int = Field(default=0, sa_type=BigInteger)
    pence_held: int = Field(default=0, sa_type=BigInteger)
    pence_settled: int = Field(default=0, sa_type=BigInteger)
    changed_at: datetime = Field(sa_type=TIMESTAMP)


class QuotaHold(SQLModel, table=True):
    """The place of one order, and its tombstone: one row, so that a concurrent ask and undo meet on its lock."""

    __tablename__ = "quota_hold"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    order_id: UUID = Field(primary_key=True)
    step: str = Field(sa_type=Text, primary_key=True)
    state: str = Field(sa_type=Text)
    month: str | None = Field(default=None, sa_type=Text)
    pence: int | None = Field(default=None, sa_type=BigInteger)
    created_at: datetime = Field(sa_type=TIMESTAMP)
    changed_at: datetime = Field(sa_type=TIMESTAMP)


class HoldState(StrEnum):
    """The life of a hold. NEW holds nothing: there was never room for the order."""

    NEW = "NEW"
    HELD = "HELD"
    WITHDRAWN = "WITHDRAWN"
    SETTLED = "SETTLED"


class IllegalHold(Exception):
    """A hold cannot become that any more."""

    def __init__(self, order_id: OrderId, state: HoldState, wanted: HoldState) -> None:
        super().__init__(f"the hold of order {order_id} is {state} and cannot become {wanted}")
        self.order_id = order_id
        self.state = state
        self.wanted = wanted


class NotHeld(Exception):
    """More was given back or settled than the month holds."""

    def __init__(self, usage: "Usage", pence: int) -> None:
        super().__init__(f"one order of {pence} pence is not among what is held: {usage}")
        self.usage = usage
        self.pence = pence


_NEXT: Final[Mapping[HoldState, tuple[HoldState, ...]]] = {
    HoldState.NEW: (HoldState.HELD, HoldState.WITHDRAWN),
    HoldState.HELD: (HoldState.WITHDRAWN, HoldState.SETTLED),
    HoldState.WITHDRAWN: (),
    HoldState.SETTLED: (),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tenant may use in one month, inclusive."""

    orders_per_month: int
    spending_limit_pence: Pence


@dataclass(slots=True)
class Usage:
    """What the orders of one month hold and have settled, as a group of commands sees and moves it."""

    month: Month
    orders_held: int = 0
    orders_settled: int = 0
    pence_held: int = 0
    pence_settled: int = 0
    changed: bool = False

    def has_room(self, pence: Pence, limits: Limits) -> bool:
        """One more order of that amount stays within both limits."""
        orders = self.orders_held + self.orders_settled + 1
        spent = self.pence_held + self.pence_settled + pence
        return orders <= limits.orders_per_month and spent <= limits.spending_limit_pence

    def hold(self, pence: Pence) -> None:
        self._move(held=1, pence_held=pence)

    def release(self, pence: Pence) -> None:
        self._move(held=-1, pence_held=-pence)

    def settle(self, pence: Pence) -> None:
        self._move(held=-1, pence_held=-pence)
        self.orders_settled += 1
        self.pence_settled += pence

    def _move(self, *, held: int, pence_held: int) -> None:
        if self.orders_held + held < 0 or self.pence_held + pence_held < 0:
            raise NotHeld(self, abs(pence_held))
        self.orders_held += held
        self.pence_held += pence_held
        self.changed = True


@dataclass(slots=True)
class Hold:
    """The place that one order took in a month."""

    order_id: OrderId
    state: HoldState = HoldState.NEW
    month: Month | None = None
    pence: Pence | None = None
    changed: bool = False

    def take(self, month: Month, pence: Pence) -> None:
        self.become(HoldState.HELD)
        self.month, self.pence = month, pence

    def become(self, wanted: HoldState) -> None:
        """Raises IllegalHold for a step that the life of a hold does not have."""
        if wanted not in _NEXT[self.state]:
            raise IllegalHold(self.order_id, self.state, wanted)
        self.state = wanted
        self.changed = True


@dataclass(slots=True)
class Quota:
    """One tenant's months and holds that a group of commands is about; each command sees what those before it did."""

    limits: Limits | None
    """None while the tenant is suspended, or not known."""
    months: dict[Month, Usage]
    holds: dict[OrderId, Hold]

    def is_withdrawn(self, order_id: OrderId) -> bool:
        return self.holds[order_id].state is HoldState.WITHDRAWN

    def has_place_for(self, order_id: OrderId) -> bool:
        """The order was given its place once, and it was not withdrawn."""
        return self.holds[order_id].state in (HoldState.HELD, HoldState.SETTLED)

    @property
    def is_suspended(self) -> bool:
        return self.limits is None

    def has_room(self, placed_at: datetime, pence: Pence) -> bool:
        """One more order fits into its month."""
        return self.limits is not None and self.months[month_of(placed_at)].has_room(pence, self.limits)

    def hold(self, order_id: OrderId, placed_at: datetime, pence: Pence) -> None:
        month = month_of(placed_at)
        self.months[month].hold(pence)
        self.holds[order_id].take(month, pence)

    def withdraw(self, order_id: OrderId) -> None:
        """Give the place back, and let none be taken later. Again changes nothing; raises IllegalHold for a settled order."""
        hold = self.holds[order_id]
        if hold.state is HoldState.WITHDRAWN:
            return
        if hold.state is HoldState.HELD:
            usage, pence = self._held(hold)
            usage.release(pence)
        hold.become(HoldState.WITHDRAWN)

    def settle(self, order_id: OrderId) -> None:
        """The place is used for good. An order that holds none changes nothing."""
        hold = self.holds.get(order_id)
        if hold is None or hold.state is not HoldState.HELD:
            return
        usage, pence = self._held(hold)
        usage.settle(pence)
        hold.become(HoldState.SETTLED)

    def _held(self, hold: Hold) -> tuple[Usage, Pence]:
        assert hold.month is not None, f"order {hold.order_id} holds a place in no month"
        assert hold.pence is not None, f"order {hold.order_id} holds no amount"
        return self.months[hold.month], hold.pence
