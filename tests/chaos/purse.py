"""What the development acquirer's books say of the payments: every operation once per order, and nothing left that nobody is owed."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.request import ProxyHandler, build_opener
from uuid import UUID

_MOVED = ("authorised", "captured", "voided", "refunded")


@dataclass(frozen=True)
class Ledger:
    """The acquirer's books, read once."""

    payments: dict[UUID, dict[str, Any]]
    violations: Counter[str]
    doubled: frozenset[UUID]
    """Payments that it has twice."""

    def violation(self, payment_id: UUID, *, is_kept: bool) -> str | None:
        """What is wrong with the money of a payment whose order has ended, if anything is."""
        found = self.payments.get(payment_id)
        if found is None:
            return "its order is kept and the acquirer has no payment" if is_kept else None
        taken = found["amount"] if is_kept and found["authorised"] else 0
        right = all(found[move] <= 1 for move in _MOVED) and (found["taken_pence"], found["held_pence"]) == (taken, 0)
        return None if right and not (is_kept and not found["authorised"]) else f"its money is {found}"


def read(acquirer_url: str) -> Ledger:
    """Ask the acquirer."""
    with build_opener(ProxyHandler({})).open(f"{acquirer_url}/ledger", timeout=60) as answer:
        told = json.load(answer)
    counted = Counter(UUID(one["payment"]) for one in told["payments"])
    payments = {UUID(one["payment"]): one for one in told["payments"]}
    return Ledger(payments, Counter(told["violations"]), frozenset(id for id, times in counted.items() if times > 1))
