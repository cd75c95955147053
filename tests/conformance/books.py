"""Whether a tenant's books balance: the months' running totals against holds and ledger, and each order against itself.

What is read is rows as `SELECT *` gives them, of tenants.quota, tenants.quota_hold and tenants.financial_transactions, one tenant's.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from services.tenants.ledger import ChargeState, Kind
from services.tenants.model import HoldState

Rows = Sequence[dict[str, Any]]


def net_pence(entries: Rows, order_id: UUID) -> int:
    """What the order costs its tenant by the ledger: charge less refund."""
    return sum(entry["amount_pence"] for entry in entries if entry["order_id"] == order_id)


def unbalanced(months: Rows, holds: Rows, entries: Rows) -> Iterator[str]:
    """Whatever is wrong with the books; nothing if they balance."""
    for month in months:
        counted = _counted(month["month"], holds, entries)
        stored = {total: month[total] for total in counted}
        if stored != counted:
            yield f"{month['month']}: the running totals are {stored}, holds and ledger say {counted}"
    for stranger in {entry["order_id"] for entry in entries} - {hold["order_id"] for hold in holds}:
        yield f"the ledger has order {stranger}, which has no hold"
    for hold in holds:
        yield from _order(hold, [entry for entry in entries if entry["order_id"] == hold["order_id"]])


def spent_pence(month: str, holds: Rows, entries: Rows) -> int:
    """What counts against the month's spending limit: the ledger, and the holds that it says nothing of."""
    counted = _counted(month, holds, entries)
    held = counted["pence_held"] + counted["pence_settled"] - counted["pence_covered"]
    return counted["pence_charged"] - counted["pence_refunded"] + held


def _counted(month: str, holds: Rows, entries: Rows) -> dict[str, int]:
    kept = [hold for hold in holds if hold["month"] == month and hold["state"] in (HoldState.HELD, HoldState.SETTLED)]
    held, settled = ([hold["pence"] for hold in kept if hold["state"] == state] for state in (HoldState.HELD, HoldState.SETTLED))
    entered = Counter[str]()
    for entry in entries:
        if entry["month"] == month:
            entered[entry["kind"]] += abs(entry["amount_pence"])
    return {
        "orders_held": len(held),
        "orders_settled": len(settled),
        "pence_held": sum(held),
        "pence_settled": sum(settled),
        "pence_charged": entered[Kind.CHARGE],
        "pence_refunded": entered[Kind.REFUND],
        "pence_covered": sum(hold["pence"] for hold in kept if hold["charge"] != ChargeState.NEW),
    }


def _order(hold: dict[str, Any], entries: Rows) -> Iterator[str]:
    """The entries of one order are what its charge's state says: none, charges, or charges and the mirror of each."""
    kinds = Counter(Kind(entry["kind"]) for entry in entries)
    net = Counter[str]()
    for entry in entries:
        net[entry["vat_rate"]] += entry["amount_pence"]
    match ChargeState(hold["charge"]):
        case ChargeState.NEW:
            right = not entries
        case ChargeState.CHARGED:
            right = kinds[Kind.CHARGE] > 0 and kinds[Kind.REFUND] == 0
        case ChargeState.REFUNDED:
            right = kinds[Kind.CHARGE] == kinds[Kind.REFUND] and not any(net.values())
    if not right:
        yield f"order {hold['order_id']} is {hold['charge']}, its entries are {entries}"
