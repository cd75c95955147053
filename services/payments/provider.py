"""The port to a payment provider: what it can be called for, what can come of a call, and how it is asked about one.

A provider knows a call by its key: the same key is the same operation, done once, however often it is called. What came of a call is never
guessed; a call that has no outcome is `InDoubt`, and is asked about.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from contracts.values import PaymentToken, Pence


class Operation(StrEnum):
    """What a provider can be called for. VOID lets go what is held, also of a payment that is not decided yet."""

    AUTHORISE = "AUTHORISE"
    CAPTURE = "CAPTURE"
    VOID = "VOID"
    REFUND = "REFUND"


@dataclass(frozen=True, slots=True)
class Call:
    """One operation at the provider, its intent committed."""

    key: str
    operation: Operation
    payment_id: UUID
    amount: Pence
    token: PaymentToken | None
    reference: str | None
    """The provider's name for the payment; None before it has one."""
    revision: int
    is_in_doubt: bool
    """It may have been called before: the provider is asked about the key first."""


@dataclass(frozen=True, slots=True)
class Done:
    """The provider has done it, now or when it was first asked to."""

    reference: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider will not do it: `code` says why, in its words."""

    code: str


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider has taken it in and decides later."""

    reference: str


Outcome = Done | Refused | Pending


class InDoubt(Exception):
    """Nobody knows what came of the call: no answer in time, a connection that broke, a server's error."""


class PaymentProvider(Protocol):
    """Whoever moves the money. Every answer is the provider's; raises InDoubt when there is none."""

    async def call(self, call: Call, metadata: dict[str, str]) -> Outcome:
        """Have it done, or learn what came of it if it was called before. `metadata` comes back with the callbacks about it."""

    async def ask(self, key: str) -> Outcome | None:
        """What came of the call with this key; None if the provider does not know it."""
