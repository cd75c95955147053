"""The platform as its clients see it: HTTP and development tokens, nothing else.

Answers are read into small values. An answer that nobody expected is an Unexpected, with what was asked and what came.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from contracts.values import OrderLine, OrderStatus, Rejection
from infra.settings import Settings
from infra.token import token

Ask = Callable[..., Coroutine[Any, Any, dict[str, Any]]]

PAGE: Final = 200
_TIMEOUT_S: Final = 60.0
_VALID_FOR: Final = "1h"
_RETAILER: Final = "catalog:read catalog:write orders:read orders:write"


class Unexpected(Exception):
    """The platform did or answered something else than it should."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its client sees it. Money in pence."""

    id: UUID
    status: OrderStatus
    rejection: Rejection | None
    total_pence: int
    lines: tuple[OrderLine, ...]

    @property
    def outcome(self) -> str:
        """Where it has come to, and why."""
        return outcome_of(self.status, self.rejection)


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of one SKU in one shop."""

    available: int
    held: int
    consumed: int
    received: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant's orders of this month hold and have settled."""

    orders_held: int
    orders_settled: int
    pence_held: int
    pence_settled: int
    pence_in_ledger: int
    """What the ledger says they were charged, less what it says was refunded."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What has come of an order's card payment. Money in pence."""

    state: str
    held_pence: int
    taken_pence: int


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of an order's timeline."""

    at: datetime
    kind: str
    words: str


class Administrator:
    """Whoever runs the platform: makes tenants, suspends them, reads their quota."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def add_tenant(self, name: str, orders_per_month: int, spending_limit_pence: int) -> UUID:
        """The new tenant's id."""
        limits = {"orders_per_month": orders_per_month, "spending_limit_pence": spending_limit_pence}
        return UUID((await self._ask("POST", "/v1/tenants", {"name": name, **limits}))["id"])

    async def suspend(self, tenant_id: UUID) -> None:
        """Its orders are refused from now on."""
        await self._ask("POST", f"/v1/tenants/{tenant_id}/suspend")

    async def usage(self, tenant_id: UUID) -> Usage:
        """Its quota of this month."""
        found = (await self._ask("GET", f"/v1/tenants/{tenant_id}"))["usage"]
        in_ledger = found["pence_charged"] - found["pence_refunded"]
        return Usage(found["orders_held"], found["orders_settled"], found["pence_held"], found["pence_settled"], in_ledger)


class Retailer:
    """One tenant with one shop. `received`: the units of each SKU that were ever put on its shelf."""

    def __init__(self, ask: Ask, name: str, tenant_id: UUID) -> None:
        self._ask = ask
        self.name = name
        self.tenant_id = tenant_id
        self.received: dict[str, int] = {}
        self._shop = ""

    async def open(self, products: dict[str, tuple[int, int]]) -> None:
        """Open the shop; `products`: SKU -> (price in pence, units on the shelf)."""
        self._shop = (await self._ask("POST", "/v1/shops", {"name": f"{self.name}, High Street"}))["id"]
        for sku, (price_pence, units) in products.items():
            details = {"sku": sku, "name": sku.capitalize(), "price_pence": price_pence, "vat_rate": "ZERO"}
            await self._ask("POST", "/v1/products", details)
            self.received[sku] = 0
            await self.stock_up(sku, units)

    async def stock_up(self, sku: str, units: int) -> None:
        """Put more units on the shelf. Nobody may order the SKU meanwhile: what is available is set, not added to."""
        available = (await self.stock(sku)).available + units
        await self._ask("PUT", f"/v1/shops/{self._shop}/stock/{sku}", {"available": available})
        self.received[sku] += units

    async def order(self, lines: dict[str, int], *, card: str | None = None, wait_s: int = 0) -> Order:
        """Place an order, SKU -> quantity; waits up to `wait_s` for its end, so that PENDING means the time was up.

        `card`: the payment provider's token, if a card pays for it.
        """
        headers = {"Idempotency-Key": str(uuid4()), **_waiting(wait_s)}
        body: dict[str, Any] = {"shop_id": self._shop, "lines": [{"sku": sku, "quantity": number} for sku, number in lines.items()]}
        if card:
            body["payment"] = {"token": card}
        return _order(await self._ask("POST", "/v1/orders", body, headers))

    async def cancel(self, order_id: UUID, reason: str, *, wait_s: int = 0) -> Order:
        """Cancel an order; waits up to `wait_s` until everything is given back."""
        return _order(await self._ask("POST", f"/v1/orders/{order_id}/cancel", {"reason": reason}, _waiting(wait_s)))

    async def payment(self, order_id: UUID) -> Payment:
        """What has come of the order's card payment."""
        found = await self._ask("GET", f"/v1/payments/{order_id}")
        return Payment(found["state"], found["held_pence"], found["taken_pence"])

    async def find(self, order_id: UUID) -> Order:
        """The order as it is now."""
        return _order(await self._ask("GET", f"/v1/orders/{order_id}"))

    async def move(self, order_id: UUID, verb: str) -> Order:
        """`prepare`, `ready` or `complete`."""
        return _order(await self._ask("POST", f"/v1/orders/{order_id}/{verb}"))

    async def orders(self) -> list[Order]:
        """All orders of the tenant."""
        found: list[Order] = []
        cursor = ""
        while cursor is not None:
            page = await self._ask("GET", f"/v1/orders?limit={PAGE}" + (f"&cursor={cursor}" if cursor else ""))
            found += [_order(item) for item in page["items"]]
            cursor = page["next"]
        return found

    async def stock(self, sku: str) -> Stock:
        """Units of the SKU in the shop."""
        found = await self._ask("GET", f"/v1/shops/{self._shop}/stock/{sku}")
        return Stock(found["available"], found["held"], found["consumed"], found["received"])

    async def timeline(self, order_id: UUID) -> list[Happening]:
        """What happened to the order so far; nothing before the first step."""
        found = await self._ask("GET", f"/v1/orders/{order_id}/timeline", None, None, (200, 404))
        return [Happening(datetime.fromisoformat(one["at"]), one["kind"], one["words"]) for one in found.get("events", ())]


class Clients:
    """Clients of one platform, on one connection pool."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings) -> None:
        self._http = http
        self._settings = settings

    def administrator(self) -> Administrator:
        return Administrator(self._as(None, "tenants:admin"))

    def retailer(self, name: str, tenant_id: UUID) -> Retailer:
        return Retailer(self._as(tenant_id, _RETAILER), name, tenant_id)

    def _as(self, tenant_id: UUID | None, scope: str) -> Ask:
        tenant = str(tenant_id) if tenant_id else None
        bearer = token(self._settings, tenant=tenant, scope=scope, ttl=_VALID_FOR)["token"]

        async def ask(
            method: str,
            path: str,
            body: dict[str, Any] | None = None,
            headers: dict[str, str] | None = None,
            expected: Sequence[int] = (200, 201, 202),
        ) -> dict[str, Any]:
            answer = await self._http.request(method, path, json=body, headers={"Authorization": f"Bearer {bearer}", **(headers or {})})
            if answer.status_code not in expected:
                raise Unexpected(f"{method} {path} {body or ''} was answered {answer.status_code}: {answer.text[:500]}")
            found: dict[str, Any] = answer.json()
            return found

        return ask


@asynccontextmanager
async def clients(api_url: str, settings: Settings) -> AsyncIterator[Clients]:
    """Clients of the platform at this URL; their tokens are signed with the development key of `settings.home`."""
    async with httpx.AsyncClient(base_url=api_url, timeout=_TIMEOUT_S) as http:
        yield Clients(http, settings)


def outcome_of(status: OrderStatus, rejection: Rejection | None) -> str:
    """In words, such as CONFIRMED or REJECTED OUT_OF_STOCK."""
    return f"{status} {rejection}" if rejection else status.value


def _waiting(wait_s: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait_s}"} if wait_s else {}


def _order(found: dict[str, Any]) -> Order:
    lines = tuple(OrderLine(sku=line["sku"], quantity=line["quantity"]) for line in found["lines"])
    rejection = Rejection(found["rejection"]) if found["rejection"] else None
    return Order(UUID(found["id"]), OrderStatus(found["status"]), rejection, found["total_pence"], lines)
