"""Tenants over HTTP, on the real database."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.values import OrderId, TenantId
from infra.clock import now
from infra.settings import Settings
from services.tenants.consumers import HANDLES
from services.tenants.main import SERVICE
from services.tenants.usage import month_of
from tests.conformance.places import MONTH, LedgerOf, QuotaOf, answers, completed, decide, envelope
from tests.integration.serving import Api, serving

TOTALS = (
    "orders_held",
    "orders_settled",
    "pence_held",
    "pence_settled",
    "pence_charged",
    "pence_refunded",
    "pence_open",
)
BAKERY = {"name": "Bakery", "orders_per_month": 10, "spending_limit_pence": 10_000}


@pytest.fixture
async def api(settings: Settings, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(SERVICE, settings, tmp_path) as api:
        yield api


@pytest.fixture
def admin(api: Api) -> dict[str, str]:
    return api.token("tenants:admin")


async def test_an_added_tenant_is_found_again(api: Api, admin: dict[str, str]) -> None:
    answer = await api.call("POST", "/v1/tenants", admin, BAKERY)
    assert answer.status_code == 201, answer.text
    nothing = {"month": month_of(now()), **dict.fromkeys(TOTALS, 0)}
    assert answer.json() == {"id": answer.json()["id"], "status": "ACTIVE", "usage": nothing, **BAKERY}
    assert answer.headers["Location"] == f"/v1/tenants/{answer.json()['id']}"
    assert (await api.call("GET", answer.headers["Location"], admin)).json() == answer.json()


async def test_a_tenant_can_be_suspended_and_resumed_again_and_again(api: Api, admin: dict[str, str]) -> None:
    path = (await api.call("POST", "/v1/tenants", admin, BAKERY)).headers["Location"]
    for verb, status in (("suspend", "SUSPENDED"), ("suspend", "SUSPENDED"), ("resume", "ACTIVE"), ("resume", "ACTIVE")):
        answer = await api.call("POST", f"{path}/{verb}", admin)
        assert (answer.status_code, answer.json()["status"]) == (200, status)
        assert (await api.call("GET", path, admin)).json() == answer.json()


async def test_an_unknown_tenant_is_not_found(api: Api, admin: dict[str, str]) -> None:
    nobody = uuid4()
    for verb, path in (("GET", ""), ("POST", "/suspend"), ("POST", "/resume")):
        answer = await api.call(verb, f"/v1/tenants/{nobody}{path}", admin)
        assert answer.status_code == 404
        assert str(nobody) in answer.json()["detail"]


async def test_usage_is_what_the_orders_of_this_month_hold_and_have_settled(api: Api, admin: dict[str, str]) -> None:
    tenant = (await api.call("POST", "/v1/tenants", admin, BAKERY)).json()
    tenant_id, orders = TenantId(UUID(tenant["id"])), [OrderId(uuid4()) for _ in range(3)]
    quota = QuotaOf(api.transaction)
    asks = [quota.ask(tenant_id, order).model_copy(update={"placed_at": now()}) for order in orders]
    async with api.transaction(tenant_id) as scope:
        await decide(scope, HANDLES[0], [envelope(tenant_id, message) for message in (*asks, completed(orders[0]))])
    usage = (await api.call("GET", f"/v1/tenants/{tenant_id}", admin)).json()["usage"]
    assert usage == {"month": month_of(now()), **dict(zip(TOTALS, (2, 1, 500, 250, 0, 0, 750), strict=True))}


async def test_usage_of_a_month_says_what_the_ledger_has_and_what_is_open(api: Api, admin: dict[str, str]) -> None:
    tenant_id, _ = await a_ledger(api, admin, orders=3)
    quota = QuotaOf(api.transaction)
    await answers(quota, tenant_id, [quota.ask(tenant_id, OrderId(uuid4()))])
    usage = (await api.call("GET", f"/v1/tenants/{tenant_id}?month={MONTH}", admin)).json()["usage"]
    # Three orders charged, the first of them refunded; one more is held and not charged.
    assert usage == {"month": MONTH, **dict(zip(TOTALS, (1, 0, 250, 0, 750, 250, 250), strict=True))}


async def test_a_month_that_is_none_is_refused(api: Api, admin: dict[str, str]) -> None:
    for month in ("2026-13", "2026", "november"):
        answer = await api.call("GET", f"/v1/tenants/{uuid4()}?month={month}", admin)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "month")


async def test_the_ledger_is_listed_newest_first_page_by_page(api: Api, admin: dict[str, str]) -> None:
    tenant_id, orders = await a_ledger(api, admin, orders=3)
    path = f"/v1/tenants/{tenant_id}/transactions?limit=3"
    pages = [(await api.call("GET", path, admin)).json()]
    while pages[-1]["next"] is not None:
        pages.append((await api.call("GET", f"{path}&cursor={pages[-1]['next']}", admin)).json())
    items = [item for page in pages for item in page["items"]]
    assert [len(page["items"]) for page in pages] == [3, 3, 2]
    # The first order's refund came last.
    assert [(item["order_id"], item["kind"]) for item in items[::2]] == [
        (str(orders[0]), "REFUND"),
        *((str(order), "CHARGE") for order in reversed(orders)),
    ]
    assert len({item["id"] for item in items}) == 8
    assert [item["entered_at"] for item in items] == sorted((item["entered_at"] for item in items), reverse=True)
    assert sum(item["amount_pence"] for item in items) == 500


async def test_an_entry_has_what_an_accountant_asks_for(api: Api, admin: dict[str, str]) -> None:
    tenant_id, [order] = await a_ledger(api, admin, orders=1)
    answer = await api.call("GET", f"/v1/tenants/{tenant_id}/transactions?order_id={order}", admin)
    refund = next(item for item in answer.json()["items"] if item["vat_rate"] == "STANDARD")
    assert refund.pop("entered_at").endswith("Z")
    assert UUID(refund.pop("id"))
    assert refund == {
        "order_id": str(order),
        "kind": "REFUND",
        "vat_rate": "STANDARD",
        "amount_pence": -120,
        "vat_pence": -20,
        "month": MONTH,
        "reference": f"order {order}",
    }
    nothing = await api.call("GET", f"/v1/tenants/{tenant_id}/transactions?order_id={uuid4()}", admin)
    assert nothing.json() == {"items": [], "next": None}


async def test_the_ledger_of_an_unknown_tenant_and_a_cursor_of_nobodys_are_refused(api: Api, admin: dict[str, str]) -> None:
    assert (await api.call("GET", f"/v1/tenants/{uuid4()}/transactions", admin)).status_code == 404
    assert (await api.call("GET", f"/v1/tenants/{uuid4()}/transactions?cursor=x", admin)).status_code == 400


async def a_ledger(api: Api, admin: dict[str, str], orders: int) -> tuple[TenantId, list[OrderId]]:
    """A tenant whose orders were charged one after the other, and the first of them refunded at the end."""
    tenant_id = TenantId(UUID((await api.call("POST", "/v1/tenants", admin, BAKERY)).json()["id"]))
    charged = [OrderId(uuid4()) for _ in range(orders)]
    ledger = LedgerOf(api.transaction)
    for message in (*(ledger.ask(tenant_id, order) for order in charged), ledger.undo(charged[0])):
        await answers(ledger, tenant_id, [message])
    return tenant_id, charged


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"orders_per_month": -1}, "orders_per_month"),
        ({"orders_per_month": 10**12}, "orders_per_month"),
        ({"spending_limit_pence": 2**53}, "spending_limit_pence"),
        ({"spending_limit_pence": "100"}, "spending_limit_pence"),
        ({"status": "SUSPENDED"}, "status"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, admin: dict[str, str], wrong: dict[str, Any], field: str) -> None:
    answer = await api.call("POST", "/v1/tenants", admin, BAKERY | wrong)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_only_an_administrator_gets_in(api: Api) -> None:
    path = f"/v1/tenants/{uuid4()}"
    for verb, where in (
        ("POST", "/v1/tenants"),
        ("GET", path),
        ("POST", f"{path}/suspend"),
        ("POST", f"{path}/resume"),
        ("GET", f"{path}/transactions"),
    ):
        assert (await api.call(verb, where, {}, BAKERY)).status_code == 401
        clerk = api.token("orders:write", "catalog:write", tenant_id=uuid4())
        assert (await api.call(verb, where, clerk, BAKERY)).status_code == 403
