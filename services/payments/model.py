"""The row of the schema `payments`, and the payment that commands and outcomes decide on. No session, no clock, no SQL.

What is `wanted` is what the sagas ask for, and only ever goes forward; RETURNED wins over everything:

    NOTHING -> AUTHORISED -> CAPTURED
       |           |            |
       +-----------+------------+---> RETURNED

What is `actual` is what the provider has said, and nothing else:

    NONE -> (PENDING) -> AUTHORISED -> CAPTURED -> REFUNDED
                 |            |
                 +-> REFUSED  +-> VOIDED

`next_operation` is the difference between the two. While an operation is `calling`, its intent is committed and its outcome is not
known: nothing else is called for the payment until it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from sqlalchemy import BigInteger, DateTime, Integer, Text
from sqlmodel import Field, SQLModel

from contracts.values import OrderId, PaymentToken, Pence, TenantId
from services.payments.provider import Call, Done, Operation, Outcome, Pending, Refused

SCHEMA: Final = {"schema": "payments"}
TIMESTAMP: Final = DateTime(timezone=True)
_NAMESPACE: Final = UUID("8f0a4a3c-5c5e-5d0c-9f0e-6d1b7a3c2e11")


class Wanted(StrEnum):
    """What the sagas want of a payment."""

    NOTHING = "NOTHING"
    AUTHORISED = "AUTHORISED"
    CAPTURED = "CAPTURED"
    RETURNED = "RETURNED"


class Actual(StrEnum):
    """What the provider has said. PENDING: it has taken the payment in and not decided yet."""

    NONE = "NONE"
    PENDING = "PENDING"
    AUTHORISED = "AUTHORISED"
    REFUSED = "REFUSED"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"


_LEADS_TO: Final[Mapping[Operation, Actual]] = {
    Operation.AUTHORISE: Actual.AUTHORISED,
    Operation.CAPTURE: Actual.CAPTURED,
    Operation.VOID: Actual.VOIDED,
    Operation.REFUND: Actual.REFUNDED,
}
_HOLDS_NOTHING: Final = (Actual.NONE, Actual.REFUSED, Actual.VOIDED, Actual.REFUNDED)


class PaymentRow(SQLModel, table=True):
    """A payment as it is stored."""

    __tablename__ = "payment"
    __table_args__ = SCHEMA

    tenant_id: UUID = Field(primary_key=True)
    order_id: UUID = Field(primary_key=True)
    payment_id: UUID
    wanted: str = Field(sa_type=Text)
    actual: str = Field(sa_type=Text)
    amount_pence: int | None = Field(default=None, sa_type=BigInteger)
    token: str | None = Field(default=None, sa_type=Text)
    refusal: str | None = Field(default=None, sa_type=Text)
    reference: str | None = Field(default=None, sa_type=Text)
    calling: str | None = Field(default=None, sa_type=Text)
    attempts: int = Field(sa_type=Integer)
    refusals: int = Field(sa_type=Integer)
    due_at: datetime | None = Field(default=None, sa_type=TIMESTAMP)
    revision: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=TIMESTAMP)
    changed_at: datetime = Field(sa_type=TIMESTAMP)


class NothingToCapture(Exception):
    """A payment is to be captured that nobody has authorised."""

    def __init__(self, order_id: OrderId) -> None:
        super().__init__(f"the payment of order {order_id} is to be captured, and nobody has asked for it to be authorised")
        self.order_id = order_id


def payment_id_of(tenant_id: TenantId, order_id: OrderId) -> UUID:
    """The id of the order's payment: the same whenever it is made, so that a provider never meets one order under two ids."""
    return uuid5(_NAMESPACE, f"{tenant_id}:{order_id}")


@dataclass(slots=True)
class Payment:
    """The payment of one order, its row locked."""

    order_id: OrderId
    payment_id: UUID
    wanted: Wanted = Wanted.NOTHING
    actual: Actual = Actual.NONE
    amount: Pence | None = None
    token: PaymentToken | None = None
    refusal: str | None = None
    reference: str | None = None
    calling: Operation | None = None
    attempts: int = 0
    """Calls of the current operation that were begun."""
    refusals: int = 0
    """How often the provider has refused the current operation; only to capture, void or refund is asked for again."""
    due_at: datetime | None = None
    """When the provider has to be called or asked; None if there is nothing to do. While a call goes on, the end of its lease."""
    revision: int = 0
    """Counts the calls begun: the outcome of an earlier one is not taken over."""
    changed: bool = False

    @property
    def is_given_back(self) -> bool:
        """Nothing is held or taken, and nothing will be."""
        return self.wanted is Wanted.RETURNED and self.calling is None and self.actual in _HOLDS_NOTHING

    def want_authorised(self, amount: Pence, token: PaymentToken) -> None:
        """Again, or after it was given back, changes nothing."""
        if self.wanted is Wanted.NOTHING:
            self.wanted, self.amount, self.token = Wanted.AUTHORISED, amount, token
            self.changed = True

    def want_captured(self) -> None:
        """Again, or after it was given back, changes nothing; raises NothingToCapture."""
        if self.wanted is Wanted.NOTHING:
            raise NothingToCapture(self.order_id)
        if self.wanted is Wanted.AUTHORISED and self.actual is not Actual.REFUSED:
            self.wanted = Wanted.CAPTURED
            self.changed = True

    def want_returned(self) -> None:
        """Wins over everything; again changes nothing."""
        if self.wanted is not Wanted.RETURNED:
            self.wanted = Wanted.RETURNED
            self.changed = True
            if self.calling is None:
                # What was refused until now is not wanted any more; what comes next has not been refused yet.
                self.attempts, self.refusals = 0, 0
                if self.actual is Actual.NONE:
                    # Nothing was ever called and nothing will be, so nothing else would clear the card.
                    self.token = None

    def be_seen_to(self, now: datetime) -> None:
        """Have the provider called or asked soon. A call that goes on is let finish first: its outcome decides what is next."""
        if self.calling is None:
            self.due_at = now if next_operation(self) is not None else None
            self.changed = True

    def intend(self, now: datetime, lease: timedelta) -> Call | None:
        """The next call, to be made once this intent is committed; nobody else makes it within the lease. None if there is none."""
        operation = next_operation(self)
        self.changed = True
        if operation is None:
            self.due_at = None
            return None
        assert self.amount is not None, f"the payment of order {self.order_id} has no amount"
        is_in_doubt = self.calling is not None or self.actual is Actual.PENDING
        self.calling = operation
        self.attempts += 1
        self.revision += 1
        self.due_at = now + lease
        return Call(self._key(operation), operation, self.payment_id, self.amount, self.token, self.reference, self.revision, is_in_doubt)

    def _key(self, operation: Operation) -> str:
        # A provider that remembers by key would refuse for ever what it has refused once: each further try is a call of its own.
        again = f":{self.refusals + 1}" if self.refusals else ""
        return f"{self.payment_id}:{operation.value.lower()}{again}"

    def learn(self, call: Call, outcome: Outcome | None, now: datetime, pause: timedelta) -> bool:
        """Take over what came of the call; None leaves it in doubt, to be asked about after the pause. False if it is not the latest.

        An operation that was refused is called for again after the pause, if it is still wanted.
        """
        if self.revision != call.revision or self.calling is not call.operation:
            return False
        self.changed = True
        match outcome:
            case Done(reference):
                self._reach(_LEADS_TO[call.operation], now, reference=reference)
            case Refused(code) if call.operation is Operation.AUTHORISE:
                self._reach(Actual.REFUSED, now, refusal=code)
            case Pending(reference) if call.operation is Operation.AUTHORISE:
                self.actual, self.reference, self.calling = Actual.PENDING, reference, None
                # Given back while it is pending, it need not be waited for.
                self.due_at = now if self.wanted is Wanted.RETURNED else now + pause
            case Refused(code):
                # Money is held or taken and the provider will not move it: no answer is true yet. Something else may be wanted by then.
                self.refusal, self.calling, self.attempts = code, None, 0
                is_wanted_still = next_operation(self) is call.operation
                self.refusals = self.refusals + 1 if is_wanted_still else 0
                self.due_at = now + pause if is_wanted_still else now
            case _:
                self.due_at = now + pause
        return True

    def _reach(self, actual: Actual, now: datetime, *, reference: str | None = None, refusal: str | None = None) -> None:
        self.actual, self.calling, self.attempts, self.refusals = actual, None, 0, 0
        self.reference, self.refusal = reference or self.reference, refusal
        # A decided authorisation needs the card no more, so nobody can read it here.
        self.token = None
        self.due_at = now if next_operation(self) is not None else None


def next_operation(payment: Payment) -> Operation | None:
    """What the provider has to be called for next; None if what is so is what is wanted."""
    if payment.calling is not None:
        return payment.calling
    match payment.wanted, payment.actual:
        case Wanted.AUTHORISED | Wanted.CAPTURED, Actual.NONE | Actual.PENDING:
            return Operation.AUTHORISE
        case Wanted.CAPTURED, Actual.AUTHORISED:
            return Operation.CAPTURE
        case Wanted.RETURNED, Actual.PENDING | Actual.AUTHORISED:
            return Operation.VOID
        case Wanted.RETURNED, Actual.CAPTURED:
            return Operation.REFUND
        case _:
            return None


@dataclass(slots=True)
class Payments:
    """The payments that a group of commands is about; each command sees what those before it did."""

    of: dict[OrderId, Payment]
