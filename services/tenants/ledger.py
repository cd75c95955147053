"""A tenant's ledger: what its orders were charged and refunded. Entries are added, never changed. No session, no clock, no SQL.

Whether an order was charged is noted beside its hold, because that note is the tombstone as well:

    NEW -> CHARGED -> REFUNDED    the order was undone or cancelled
     |                   |
     +-------------------+        it was refunded before it was charged: now it never will be
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from contracts.tenants import ChargeOrder
from contracts.values import OrderId, TenantId, VatRate
from services.tenants.usage import Month, month_of


class ChargeState(StrEnum):
    """The life of an order's charge. NEW: the ledger has nothing of the order."""

    NEW = "NEW"
    CHARGED = "CHARGED"
    REFUNDED = "REFUNDED"


class Kind(StrEnum):
    """What an entry does. An order has at most one entry of each kind and VAT rate."""

    CHARGE = "CHARGE"
    REFUND = "REFUND"


class IllegalCharge(Exception):
    """An order's charge cannot become that any more."""

    def __init__(self, order_id: OrderId, state: ChargeState, wanted: ChargeState) -> None:
        super().__init__(f"the charge of order {order_id} is {state} and cannot become {wanted}")
        self.order_id = order_id
        self.state = state
        self.wanted = wanted


class AmountsDoNotAddUp(ValueError):
    """A charge's amounts are not its total, or name a VAT rate twice: whoever sent it is wrong."""

    def __init__(self, command: ChargeOrder) -> None:
        super().__init__(f"the amounts of order {command.order_id} are not its total of {command.total} pence, each VAT rate once")
        self.command = command


LEGAL: Final[Mapping[ChargeState, tuple[ChargeState, ...]]] = {
    ChargeState.NEW: (ChargeState.CHARGED, ChargeState.REFUNDED),
    ChargeState.CHARGED: (ChargeState.REFUNDED,),
    ChargeState.REFUNDED: (),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger, in pence and with its VAT inside: a charge is above zero or zero, a refund its mirror below."""

    order_id: OrderId
    kind: Kind
    vat_rate: VatRate
    amount_pence: int
    vat_pence: int
    month: Month
    """The month whose spending limit it counts against; a refund's is that of its charge."""

    @property
    def reference(self) -> str:
        """What it is for, as accountants read it."""
        return f"order {self.order_id}"

    def id_in(self, tenant_id: TenantId) -> UUID:
        """Always the same, so that a second entry for the same thing cannot be stored."""
        return uuid5(tenant_id, f"{self.order_id} {self.kind} {self.vat_rate}")

    def refund(self) -> "Entry":
        """The entry that takes this charge back."""
        return replace(self, kind=Kind.REFUND, amount_pence=-self.amount_pence, vat_pence=-self.vat_pence)


def charge_entries(command: ChargeOrder) -> tuple[Entry, ...]:
    """One entry for each VAT rate; raises AmountsDoNotAddUp."""
    rates = {amount.rate for amount in command.amounts}
    if len(rates) < len(command.amounts) or sum(amount.total for amount in command.amounts) != command.total:
        raise AmountsDoNotAddUp(command)
    month = month_of(command.placed_at)
    return tuple(Entry(command.order_id, Kind.CHARGE, amount.rate, amount.total, amount.vat, month) for amount in command.amounts)


@dataclass(slots=True)
class Ledger:
    """The charges that a group of commands may have to refund, and the entries that it adds."""

    charges: dict[OrderId, tuple[Entry, ...]] = field(default_factory=dict)
    entered: list[Entry] = field(default_factory=list)

    def charge(self, order_id: OrderId, entries: tuple[Entry, ...]) -> None:
        self.charges[order_id] = entries
        self.entered += entries

    def refund(self, order_id: OrderId) -> tuple[Entry, ...]:
        """Enter the mirror of everything that the order was charged, and say what that is."""
        refunds = tuple(charge.refund() for charge in self.charges[order_id])
        self.entered += refunds
        return refunds
