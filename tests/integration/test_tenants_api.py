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
from services.tenants.model import month_of
from tests.conformance.places import QuotaOf, completed, decide, envelope
from tests.integration.serving import Api, serving

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
    nothing = {"month": month_of(now()), "orders_held": 0, "orders_settled": 0, "pence_held": 0, "pence_settled": 0}
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
    assert usage == {"month": month_of(now()), "orders_held": 2, "orders_settled": 1, "pence_held": 500, "pence_settled": 250}


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
    for verb, where in (("POST", "/v1/tenants"), ("GET", path), ("POST", f"{path}/suspend"), ("POST", f"{path}/resume")):
        assert (await api.call(verb, where, {}, BAKERY)).status_code == 401
        clerk = api.token("orders:write", "catalog:write", tenant_id=uuid4())
        assert (await api.call(verb, where, clerk, BAKERY)).status_code == 403
