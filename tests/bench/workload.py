"""The work that every system does: the i-th order is the same for all, so is what must come of it.

For each order, durably and each step in its own transaction: create it PENDING, reserve stock, reserve the tenant's quota, confirm. One in
ten asks more than any quota: its stock is given back and it is rejected.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

UNITS_RECEIVED: Final = 1_000_000_000
"""Of each SKU of each tenant: enough for any run."""
QUOTA_PENCE: Final = 1_000_000_000_000
"""Of each tenant: enough for all orders but those that ask more than any quota."""
TOO_MUCH_PENCE: Final = QUOTA_PENCE + 1
UNIT_PENCE: Final = 100
_REFUSED_ONE_IN: Final = 10


@dataclass(frozen=True, slots=True)
class Work:
    """One order. `tenant` and `sku` count from 0."""

    number: int
    tenant: int
    sku: int
    quantity: int
    pence: int

    @property
    def is_refused(self) -> bool:
        """Whether it asks more than any quota."""
        return self.pence > QUOTA_PENCE


@dataclass(frozen=True)
class Workload:
    """`tenants` tenants, each with `skus` SKUs."""

    tenants: int = 50
    skus: int = 200

    def order(self, number: int) -> Work:
        """The order with this number, which counts from 0."""
        tenant, turn = number % self.tenants, number // self.tenants
        quantity = 1 + number % 3
        is_refused = (tenant + turn) % _REFUSED_ONE_IN == 0
        return Work(number, tenant, turn * 7 % self.skus, quantity, TOO_MUCH_PENCE if is_refused else quantity * UNIT_PENCE)

    def orders(self, first: int, many: int) -> Iterator[Work]:
        return (self.order(number) for number in range(first, first + many))


@dataclass(frozen=True)
class EndState:
    """What is in the books of all tenants together once everything has ended; equal for every system that did the work."""

    confirmed: int
    rejected: int
    pending: int
    units_held: int
    units_gone: int
    """Taken off the shelf."""
    orders_in_quota: int
    pence_in_quota: int


def expected(workload: Workload, orders: int) -> EndState:
    """What must be in the books after the first `orders` orders."""
    sums = Counter[str]()
    for work in workload.orders(0, orders):
        sums["rejected" if work.is_refused else "confirmed"] += 1
        if not work.is_refused:
            sums["units"] += work.quantity
            sums["pence"] += work.pence
    return EndState(sums["confirmed"], sums["rejected"], 0, sums["units"], sums["units"], sums["confirmed"], sums["pence"])
