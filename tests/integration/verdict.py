"""What a run came to, read from the tables of every service: how each order ended, and whatever is wrong with that.

CONFIRMED with stock and quota held exactly once, or REJECTED with nothing held, or its saga waits for people; no unit and no place
in the quota is lost or made up, the ledger balances and costs nobody anything but what was delivered, and no outbox keeps anything
that was not published.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from contracts.values import OrderStatus, TenantId
from infra.transaction import Transactions
from sagas.engine.instance import State
from tests.conformance.books import net_pence, unbalanced
from tests.integration.troubled import Shopkeeper, World

Rows = list[dict[str, Any]]

_TABLES: Final = {
    "sagas": ("saga", "outbox"),
    "orders": ("customer_order", "order_line", "outbox"),
    "inventory": ("stock", "stock_hold", "stock_hold_line", "outbox"),
    "tenants": ("quota", "quota_hold", "financial_transactions", "outbox"),
}
# What an order holds in stock and quota, by the status of the order.
_KEPT: Final = {OrderStatus.CONFIRMED: ("HELD", "HELD"), OrderStatus.COMPLETED: ("CONSUMED", "SETTLED")}
_NOTHING: Final = {None, "NEW", "WITHDRAWN"}
_CHARGED: Final = {OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.READY, OrderStatus.COMPLETED}
_FREE: Final = {OrderStatus.REJECTED, OrderStatus.CANCELLED}
_WAITS_FOR_PEOPLE: Final = {State.PARKED, State.NEEDS_ATTENTION}


@dataclass(frozen=True)
class Ended:
    """How one order ended."""

    state: State
    status: OrderStatus
    rejection: str | None


@dataclass
class Verdict:
    """Of one run; `wrong` is empty if the platform kept its promise."""

    ends: Counter[Ended]
    wrong: list[str]


async def verdict(world: World) -> Verdict:
    """Read every table of every tenant of the run."""
    found = Verdict(Counter(), [])
    for tenant in world.tenants:
        books = {
            f"{service}.{table}": rows
            for service, tables in _TABLES.items()
            for table, rows in (await _read(world.transactions[service], tenant.tenant_id, service, tables)).items()
        }
        for order in books["orders.customer_order"]:
            ended, wrong = _order(books, order)
            found.ends[ended] += 1
            found.wrong += [f"{ended}: {one}" for one in wrong]
        found.wrong += [*_stock(books, tenant), *_ledger(books)]
        found.wrong += [f"{len(rows)} rows are left in {table}" for table, rows in books.items() if table.endswith("outbox") and rows]
    return found


async def _read(transaction: Transactions, tenant_id: TenantId, service: str, tables: tuple[str, ...]) -> dict[str, Rows]:
    async with transaction(tenant_id) as scope:
        queries = {table: f"SELECT * FROM {service}.{table} WHERE tenant_id = $1" for table in tables}
        return {table: [dict(row) for row in await scope.connection.fetch(query, tenant_id)] for table, query in queries.items()}


def _order(books: dict[str, Rows], order: dict[str, Any]) -> tuple[Ended, list[str]]:
    id = order["order_id"]
    saga = next((row for row in books["sagas.saga"] if row["subject"] == str(id)), None)
    if saga is None:
        return Ended(State.RUNNING, OrderStatus(order["status"]), None), ["the order has no saga"]
    ended = Ended(State(saga["state"]), OrderStatus(order["status"]), order["rejection"])
    stock, quota = (next((row["state"] for row in books[holds] if row["order_id"] == id), None) for holds in _HOLDS)
    held = f"its stock is {stock}, its quota {quota}"
    if ended.state in _WAITS_FOR_PEOPLE:
        return ended, [] if saga["wake_at"] is None else ["it waits for people and for a deadline"]
    if ended.state is State.COMPLETED:
        whole = _lines(books["inventory.stock_hold_line"], id) == _lines(books["orders.order_line"], id)
        kept = _KEPT.get(ended.status) == (stock, quota) and whole
    else:
        kept = ended.state is State.ABANDONED and ended.status is OrderStatus.REJECTED and {stock, quota} <= _NOTHING
    return ended, [] if kept else [held]


def _lines(rows: Rows, order_id: object) -> dict[str, int]:
    return {row["sku"]: row["quantity"] for row in rows if row["order_id"] == order_id}


def _stock(books: dict[str, Rows], tenant: Shopkeeper) -> Iterator[str]:
    """Every unit is where the holds say, and none is lost."""
    state = {row["order_id"]: row["state"] for row in books["inventory.stock_hold"]}
    units = Counter[tuple[str, str]]()
    for line in books["inventory.stock_hold_line"]:
        units[line["sku"], state[line["order_id"]]] += line["quantity"]
    for row in books["inventory.stock"]:
        sku, received = row["sku"], tenant.received[row["sku"]]
        counted = (received - units[sku, "HELD"] - units[sku, "CONSUMED"], units[sku, "HELD"], units[sku, "CONSUMED"], received)
        stored = (row["available"], row["held"], row["consumed"], row["received"])
        if stored != counted:
            yield f"{sku}: available, held, consumed, received are {stored}, its holds say {counted}"


def _ledger(books: dict[str, Rows]) -> Iterator[str]:
    """Running totals, holds and entries agree, and each order costs what it came to: its total, or nothing. Unended ones may be between."""
    entries = books["tenants.financial_transactions"]
    yield from unbalanced(books["tenants.quota"], books["tenants.quota_hold"], entries)
    for order in books["orders.customer_order"]:
        status, cost, total = OrderStatus(order["status"]), net_pence(entries, order["order_id"]), order["total_pence"]
        if (status in _CHARGED and cost != total) or (status in _FREE and cost != 0):
            yield f"an order of {total} pence is {status} and costs {cost} by the ledger"


_HOLDS: Final = ("inventory.stock_hold", "tenants.quota_hold")
