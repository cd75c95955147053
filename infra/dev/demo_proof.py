"""The proof that nothing was lost or made up: stock, quota and ledger, counted over HTTP and compared with the orders themselves."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.values import OrderStatus
from infra.dev.demo_client import Order, Retailer, Stock, Unexpected, Usage
from infra.dev.demo_stage import Stage, until

_UNDECIDED = frozenset({OrderStatus.PENDING, OrderStatus.CANCELLING})
_HOLDING = frozenset({OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.READY})


@dataclass(frozen=True)
class Shelf:
    """Units of one SKU as counted, and as the orders say they must be."""

    sku: str
    counted: Stock
    wanted: Stock


@dataclass(frozen=True)
class Account:
    """One tenant: its orders, and what they should and do use."""

    retailer: Retailer
    orders: Sequence[Order]
    usage: Usage
    wanted_usage: Usage
    shelves: tuple[Shelf, ...]

    @property
    def is_conserved(self) -> bool:
        """Every order has ended, and stock, quota and ledger are exactly what the orders say."""
        ended = all(order.status not in _UNDECIDED for order in self.orders)
        return ended and self.usage == self.wanted_usage and all(shelf.counted == shelf.wanted for shelf in self.shelves)


async def accounts(stage: Stage, retailers: Sequence[Retailer], within_s: float = 10.0) -> list[Account]:
    """The accounts of these tenants once they are conserved, or as they are after `within_s` seconds.

    What a completed order held is consumed and settled by an event, a moment after the order: hence the patience.
    """
    return list(await asyncio.gather(*(_settled_account(stage, retailer, within_s) for retailer in retailers)))


async def expect_conserved(stage: Stage, *retailers: Retailer) -> None:
    """Raises Unexpected naming each tenant whose stock or quota is off; all of the stage's tenants if none is named."""
    for account in await accounts(stage, retailers or stage.retailers):
        if not account.is_conserved:
            raise Unexpected(f"{account.retailer.name} is not conserved: {account}")


async def _settled_account(stage: Stage, retailer: Retailer, within_s: float) -> Account:
    try:
        return await until(lambda: _account(stage, retailer), lambda account: account.is_conserved, retailer.name, within_s)
    except Unexpected:
        return await _account(stage, retailer)


async def _account(stage: Stage, retailer: Retailer) -> Account:
    orders = await retailer.orders()
    holding = [order for order in orders if order.status in _HOLDING]
    completed = [order for order in orders if order.status is OrderStatus.COMPLETED]
    held, consumed = _units(holding), _units(completed)
    shelves = []
    for sku, received in retailer.received.items():
        wanted = Stock(received - held[sku] - consumed[sku], held[sku], consumed[sku], received)
        shelves.append(Shelf(sku, await retailer.stock(sku), wanted))
    pence = _pence(holding), _pence(completed)
    wanted_usage = Usage(len(holding), len(completed), *pence, sum(pence))
    return Account(retailer, orders, await stage.administrator.usage(retailer.tenant_id), wanted_usage, tuple(shelves))


def _units(orders: Sequence[Order]) -> Counter[str]:
    units: Counter[str] = Counter()
    for order in orders:
        units.update({line.sku: line.quantity for line in order.lines})
    return units


def _pence(orders: Sequence[Order]) -> int:
    return sum(order.total_pence for order in orders)
