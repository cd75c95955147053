"""What a run came to, read from the tables of every service: how each order ended, and whatever is wrong with that.

CONFIRMED with stock and quota held exactly once, or REJECTED with nothing held, or its saga waits for people; no unit and no place
in the quota is lost or made up, the ledger balances and costs nobody anything but what was delivered, and no outbox keeps anything
that was not published.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from contracts.values import OrderStatus, TenantId
from infra.transaction import Transactions
from sagas.engine.instance import State
from tests.conformance.books import net_pence, unbalanced
from tests.integration.troubled import Shopkeeper

Rows = list[dict[str, Any]]

_TABLES: Final = {
    "sagas": ("saga", "outbox"),
    "orders": ("customer_order", "order_line", "outbox"),
    "inventory": ("stock", "stock_hold", "stock_hold_line", "outbox"),
    "tenants": ("quota", "quota_hold", "financial_transactions", "outbox"),
    "payments": ("payment", "outbox"),
}
# What an order holds in stock and quota, by the status of the order.
_KEPT: Final = {OrderStatus.CONFIRMED: ("HELD", "HELD"), OrderStatus.COMPLETED: ("CONSUMED", "SETTLED")}
_NOTHING: Final = {None, "NEW", "WITHDRAWN"}
_CHARGED: Final = {OrderStatus.CONFIRMED, OrderStatus.PREPARING, OrderStatus.READY, OrderStatus.COMPLETED}
_FREE: Final = {OrderStatus.REJECTED, OrderStatus.CANCELLED}
_WAITS_FOR_PEOPLE: Final = {State.PARKED.value, State.NEEDS_ATTENTION.value}


class Purse(Protocol):
    """Whoever knows what was really done with the money of a payment."""

    def violation(self, payment_id: UUID, *, is_kept: bool) -> str | None: ...


class Run(Protocol):
    """What is judged: a day in a simulated network, or a platform of real processes."""

    @property
    def tenants(self) -> Sequence[Shopkeeper]: ...
    @property
    def transactions(self) -> Mapping[str, Transactions]: ...
    @property
    def purse(self) -> Purse: ...


@dataclass(frozen=True)
class Ended:
    """How one order ended."""

    state: State
    status: OrderStatus
    rejection: str | None
    cancelling: State | None = None
    """Of the saga that cancels it, if there is one."""


@dataclass
class Verdict:
    """Of one run; `wrong` is empty if the platform kept its promise."""

    ends: Counter[Ended]
    wrong: list[str]


async def verdict(world: Run) -> Verdict:
    """Read every table of every tenant of the run."""
    found = Verdict(Counter(), [])
    for tenant in world.tenants:
        books = {
            f"{service}.{table}": rows
            for service, tables in _TABLES.items()
            for table, rows in (await _read(world.transactions[service], tenant.tenant_id, service, tables)).items()
        }
        own = _by_order(books)
        for order in books["orders.customer_order"]:
            ended, wrong = _order(own[order["order_id"]], order, world.purse)
            found.ends[ended] += 1
            found.wrong += [f"{ended}: {one}" for one in wrong]
        found.wrong += [*_stock(books, tenant), *_ledger(books)]
        found.wrong += [f"{len(rows)} rows are left in {table}" for table, rows in books.items() if table.endswith("outbox") and rows]
    return found


async def _read(transaction: Transactions, tenant_id: TenantId, service: str, tables: tuple[str, ...]) -> dict[str, Rows]:
    async with transaction(tenant_id) as scope:
        queries = {table: f"SELECT * FROM {service}.{table} WHERE tenant_id = $1" for table in tables}
        return {table: [dict(row) for row in await scope.connection.fetch(query, tenant_id)] for table, query in queries.items()}


def _by_order(books: dict[str, Rows]) -> defaultdict[UUID, defaultdict[str, Rows]]:
    """The rows of each order by table: with thousands of orders nobody looks through all rows for each."""
    found: defaultdict[UUID, defaultdict[str, Rows]] = defaultdict(lambda: defaultdict(list))
    for table, rows in books.items():
        for row in rows:
            if table == "sagas.saga":
                found[UUID(row["subject"])][table].append(row)
            elif "order_id" in row:
                found[row["order_id"]][table].append(row)
    return found


def _order(books: Mapping[str, Rows], order: dict[str, Any], purse: Purse) -> tuple[Ended, list[str]]:
    id = order["order_id"]
    sagas = {row["name"]: row for row in books["sagas.saga"] if row["subject"] == str(id)}
    if "place-order" not in sagas:
        return Ended(State.RUNNING, OrderStatus(order["status"]), None), ["the order has no saga"]
    cancelling = State(sagas["cancel-order"]["state"]) if "cancel-order" in sagas else None
    ended = Ended(State(sagas["place-order"]["state"]), OrderStatus(order["status"]), order["rejection"], cancelling)
    if waiting := [saga for saga in sagas.values() if saga["state"] in _WAITS_FOR_PEOPLE]:
        return ended, [f"{saga['name']} waits for people and for a deadline" for saga in waiting if saga["wake_at"] is not None]
    is_kept = ended.status in _KEPT
    return ended, [
        *_way(ended),
        *_holds(books, id, ended.status),
        *_money(books, id, purse, is_kept),
    ]


def _way(ended: Ended) -> Iterator[str]:
    """Either it was placed and perhaps cancelled, or placing it undid it: never both, never neither."""
    ways = {
        OrderStatus.CONFIRMED: (State.COMPLETED, None),
        OrderStatus.COMPLETED: (State.COMPLETED, None),
        OrderStatus.REJECTED: (State.ABANDONED, None),
    }
    cancelled = ((State.COMPLETED, State.COMPLETED), (State.ABANDONED, None))
    way = ended.state, ended.cancelling
    if not (way in cancelled if ended.status is OrderStatus.CANCELLED else way == ways.get(ended.status)):
        yield "its sagas and its status do not agree"


def _holds(books: Mapping[str, Rows], id: object, status: OrderStatus) -> Iterator[str]:
    stock, quota = (next((row["state"] for row in books[holds] if row["order_id"] == id), None) for holds in _HOLDS)
    whole = _lines(books["inventory.stock_hold_line"], id) == _lines(books["orders.order_line"], id)
    if not (_KEPT[status] == (stock, quota) and whole if status in _KEPT else {stock, quota} <= _NOTHING):
        yield f"its stock is {stock}, its quota {quota}"


def _money(books: Mapping[str, Rows], id: object, purse: Purse, is_kept: bool) -> Iterator[str]:
    for payment in books["payments.payment"]:
        if payment["order_id"] == id and (wrong := purse.violation(payment["payment_id"], is_kept=is_kept)):
            yield wrong


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
