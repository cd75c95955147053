"""Rows of the schema `tenants`, and the account that a group of commands decides on. No session, no clock, no SQL.

A hold is the place that one order took in its month, or the note that it may take none any more. Beside it is noted whether the
order was charged (services/tenants/ledger.py): quota and ledger count the same amount, so both are decided under one row's lock.

    NEW -> HELD -> SETTLED       the order was completed
     |      |
     +------+----> WITHDRAWN     the order was undone, perhaps before it was asked for
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Text
from sqlmodel import Field, SQLModel

from contracts.tenants import ChargeOrder
from contracts.values import OrderId, Pence
from services.tenants.ledger import LEGAL, ChargeState, IllegalCharge, Ledger, charge_entries
from services.tenants.usage import Limits, Month, Usage, month_of

SCHEMA: Final = {"schema": "tenants"}
TIMESTAMP: Final = DateTime(timezone=True)


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
    """The running totals of one month (services/tenants/usage.py)."""

    __tablename__ = "quota"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    month: str = Field(sa_type=Text, primary_key=True)
    orders_held: int = Field(default=0, sa_type=BigInteger)
    orders_settled: int = Field(default=0, sa_type=BigInteger)
    pence_held: int = Field(default=0, sa_type=BigInteger)
    pence_settled: int = Field(default=0, sa_type=BigInteger)
    changed_at: datetime = Field(sa_type=TIMESTAMP)
    pence_charged: int = Field(default=0, sa_type=BigInteger)
    pence_refunded: int = Field(default=0, sa_type=BigInteger)
    pence_covered: int = Field(default=0, sa_type=BigInteger)


class QuotaHold(SQLModel, table=True):
    """The place of one order, whether it was charged, and the tombstones of both: one row, so that all commands meet on its lock."""

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
    charge: str = Field(default=ChargeState.NEW.value, sa_type=Text)


class FinancialTransaction(SQLModel, table=True):
    """An entry of the ledger, for good: the table refuses to change or delete one. A refund's amounts are below zero."""

    __tablename__ = "financial_transactions"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    order_id: UUID
    kind: str = Field(sa_type=Text)
    vat_rate: str = Field(sa_type=Text)
    amount_pence: int = Field(sa_type=BigInteger)
    vat_pence: int = Field(sa_type=BigInteger)
    month: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text)
    entered_at: datetime = Field(sa_type=TIMESTAMP)


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


_NEXT: Final[Mapping[HoldState, tuple[HoldState, ...]]] = {
    HoldState.NEW: (HoldState.HELD, HoldState.WITHDRAWN),
    HoldState.HELD: (HoldState.WITHDRAWN, HoldState.SETTLED),
    HoldState.WITHDRAWN: (),
    HoldState.SETTLED: (),
}


@dataclass(slots=True)
class Hold:
    """The place that one order took in a month, and whether the order was charged."""

    order_id: OrderId
    state: HoldState = HoldState.NEW
    month: Month | None = None
    pence: Pence | None = None
    charge: ChargeState = ChargeState.NEW
    changed: bool = False

    @property
    def has_place(self) -> bool:
        return self.state in (HoldState.HELD, HoldState.SETTLED)

    @property
    def is_covered(self) -> bool:
        """The ledger counts the order's amount: it was charged, or refunded and counts nothing any more."""
        return self.charge is not ChargeState.NEW

    def take(self, month: Month, pence: Pence) -> None:
        self.become(HoldState.HELD)
        self.month, self.pence = month, pence

    def become(self, wanted: HoldState) -> None:
        """Raises IllegalHold for a step that the life of a hold does not have."""
        if wanted not in _NEXT[self.state]:
            raise IllegalHold(self.order_id, self.state, wanted)
        self.state = wanted
        self.changed = True

    def charge_becomes(self, wanted: ChargeState) -> None:
        """Raises IllegalCharge for a step that the life of a charge does not have."""
        if wanted not in LEGAL[self.charge]:
            raise IllegalCharge(self.order_id, self.charge, wanted)
        self.charge = wanted
        self.changed = True


@dataclass(slots=True)
class Quota:
    """One tenant's months, holds and charges that a group of commands is about; each command sees what those before it did."""

    limits: Limits | None
    """None while the tenant is suspended, or not known."""
    months: dict[Month, Usage]
    holds: dict[OrderId, Hold]
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def is_suspended(self) -> bool:
        return self.limits is None

    def is_withdrawn(self, order_id: OrderId) -> bool:
        return self.holds[order_id].state is HoldState.WITHDRAWN

    def has_place_for(self, order_id: OrderId) -> bool:
        """The order was given its place once, and it was not withdrawn."""
        return self.holds[order_id].has_place

    def is_charged(self, order_id: OrderId) -> bool:
        return self.holds[order_id].charge is ChargeState.CHARGED

    def is_refunded(self, order_id: OrderId) -> bool:
        """It was charged and refunded, or it may not be charged any more."""
        return self.holds[order_id].charge is ChargeState.REFUNDED

    def has_room(self, order_id: OrderId, placed_at: datetime, pence: Pence) -> bool:
        """One more order fits into its month, and its amount as well unless the ledger counts that already."""
        if self.limits is None:
            return False
        usage, more = self.months[month_of(placed_at)], 0 if self.holds[order_id].is_covered else pence
        return usage.has_place(self.limits) and usage.can_spend(more, self.limits)

    def can_spend(self, order_id: OrderId, placed_at: datetime, pence: Pence) -> bool:
        """The order's amount stays within its month's spending limit, in which a hold counts it already."""
        hold = self.holds[order_id]
        more = pence - (hold.pence or 0) if hold.has_place else pence
        return self.limits is not None and self.months[month_of(placed_at)].can_spend(more, self.limits)

    def hold(self, order_id: OrderId, placed_at: datetime, pence: Pence) -> None:
        month, hold = month_of(placed_at), self.holds[order_id]
        self.months[month].hold(pence, covered=hold.is_covered)
        hold.take(month, pence)

    def withdraw(self, order_id: OrderId) -> None:
        """Give the place back, and let none be taken later. Again changes nothing; raises IllegalHold for a settled order."""
        hold = self.holds[order_id]
        if hold.state is HoldState.WITHDRAWN:
            return
        if hold.state is HoldState.HELD:
            usage, pence = self._held(hold)
            usage.release(pence, covered=hold.is_covered)
        hold.become(HoldState.WITHDRAWN)

    def settle(self, order_id: OrderId) -> None:
        """The place is used for good. An order that holds none changes nothing."""
        hold = self.holds.get(order_id)
        if hold is None or hold.state is not HoldState.HELD:
            return
        usage, pence = self._held(hold)
        usage.settle(pence)
        hold.become(HoldState.SETTLED)

    def charge(self, command: ChargeOrder) -> None:
        """Enter the order's amounts. Raises AmountsDoNotAddUp, and IllegalCharge for an order that was charged or refunded."""
        hold, entries = self.holds[command.order_id], charge_entries(command)
        self._charge_becomes(hold, ChargeState.CHARGED)
        self.months[month_of(command.placed_at)].charge(command.total)
        self.ledger.charge(command.order_id, entries)

    def refund(self, order_id: OrderId) -> None:
        """Enter the mirror of what was charged, if anything was, and let nothing be charged later. Again changes nothing."""
        hold = self.holds[order_id]
        if hold.charge is ChargeState.REFUNDED:
            return
        if hold.charge is ChargeState.CHARGED:
            for entry in self.ledger.refund(order_id):
                self.months[entry.month].refund(-entry.amount_pence)
        self._charge_becomes(hold, ChargeState.REFUNDED)

    def _charge_becomes(self, hold: Hold, wanted: ChargeState) -> None:
        # From its first entry or its tombstone on the ledger counts the order, and its hold does not.
        if hold.has_place and not hold.is_covered:
            usage, pence = self._held(hold)
            usage.cover(pence)
        hold.charge_becomes(wanted)

    def _held(self, hold: Hold) -> tuple[Usage, Pence]:
        assert hold.month is not None, f"order {hold.order_id} holds a place in no month"
        assert hold.pence is not None, f"order {hold.order_id} holds no amount"
        return self.months[hold.month], hold.pence
