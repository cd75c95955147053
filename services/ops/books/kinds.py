"""What can be wrong when the books of all services are laid side by side, who mends it, and what somebody may accept instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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

DIFFERING: Final = (Kind.STOCK_DIFFERS, Kind.QUOTA_DIFFERS, Kind.CHARGE_DIFFERS, Kind.PAYMENT_DIFFERS)
"""What nobody can take or give after the fact: the whole order is cancelled, or it stays as it is."""
TOTALS: Final = (Kind.STOCK_UNBALANCED, Kind.QUOTA_UNBALANCED, Kind.LEDGER_UNBALANCED)
"""What is mended before anything else, because everything else goes by it."""
UNBALANCED: Final[Mapping[str, Kind]] = {
    "stock": Kind.STOCK_UNBALANCED,
    "quota": Kind.QUOTA_UNBALANCED,
    "ledger": Kind.LEDGER_UNBALANCED,
}
"""By the book whose totals they are."""
CAN_BE_RIGHT: Final = (*DIFFERING, Kind.PAYMENT_NOT_TAKEN, Kind.FORGOTTEN_ORDER, Kind.ORPHAN_CHARGE, Kind.ORPHAN_PAYMENT)
"""What people may have agreed on outside of the platform: another quantity, cash at the till, a fee that is kept."""
