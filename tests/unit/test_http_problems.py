"""Every error is a problem+json that names what is wrong and how to mend it, and tells nothing of the inside."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Depends, Query
from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError

from contracts.values import OrderLine
from infra.errors import Outage
from infra.http import FieldError, Problem, Timestamp, create_app
from infra.http.auth import Administrator, Caller, administrator_with, caller_with, scopes_of
from infra.http.health import Check
from tests.unit.tokens import TENANT, signed, verifier

CANARY = "canary-7f3a"
FAILURES: dict[str, Exception] = {
    "bug": RuntimeError(CANARY),
    "statement": DBAPIError("SELECT 1", {}, Exception(CANARY)),
    "lost": DBAPIError("SELECT 1", {}, Exception(CANARY), connection_invalidated=True),
    "outage": Outage(CANARY),
    "refused": ConnectionRefusedError(CANARY),
    "problem": Problem(409, "Illegal transition", "not now", errors=[FieldError(field="status", message="is READY")], headers={"X-A": "b"}),
}


class Ordered(BaseModel):
    model_config = ConfigDict(extra="forbid")

    shop_id: UUID
    lines: list[OrderLine]
    at: Timestamp | None = None
    note: str = ""


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.post("/orders", status_code=202)
    async def order(ordered: Ordered, caller: Annotated[Caller, Depends(caller_with("orders:write"))]) -> dict[str, Any]:
        return {"tenant": str(caller.tenant_id), "at": ordered.at, "note": ordered.note}

    @routes.get("/orders")
    async def orders(
        caller: Annotated[Caller, Depends(caller_with("orders:read", "ops"))], limit: Annotated[int, Query(ge=1)] = 1, q: str = ""
    ) -> int:
        return limit

    @routes.get("/fail/{how}")
    async def fail(how: str) -> None:
        raise FAILURES[how]

    @routes.post("/tenants")
    async def tenants(administrator: Annotated[Administrator, Depends(administrator_with("tenants:admin"))]) -> str:
        return administrator.subject

    return routes


async def broken() -> str | None:
    raise ConnectionRefusedError(CANARY)


async def well() -> str | None:
    return None


def application(*checks: Check) -> Any:
    registry = CollectorRegistry()
    Counter("seen", "for the test", registry=registry).inc()
    return create_app("test", {"orders": router()}, verifier=verifier(), checks=checks, body_bytes_max=2_000, registry=registry)


def reaching(app: Any, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://oaas.test", headers=headers)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    token = signed(exp=4_000_000_000, scope="orders:read orders:write tenants:admin")
    async with reaching(application(), Authorization=f"Bearer {token}") as opened:
        yield opened


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= told.keys()
    assert told["status"] == status
    assert told["type"].startswith("urn:oaas:problem:")
    assert response.headers["x-request-id"] == told["request_id"]
    assert CANARY not in response.text
    return told


def fields(response: httpx.Response) -> dict[str, str]:
    return {error["field"]: error["message"] for error in problem(response, 422)["errors"]}


RIGHT = {"shop_id": str(TENANT), "lines": [{"sku": "BREAD", "quantity": 1}]}


async def test_a_right_request_is_served(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/orders", json={**RIGHT, "at": "2026-11-23T10:00:00+01:00", "note": "£ 😀"})
    assert response.status_code == 202
    assert response.json() == {"tenant": str(TENANT), "at": "2026-11-23T09:00:00Z", "note": "£ 😀"}


async def test_every_wrong_field_is_named_with_its_fix(client: httpx.AsyncClient) -> None:
    wrong = {"shop_id": "x", "lines": [{"sku": "a b", "quantity": 0}, {"quantity": "many"}], "at": "2026-11-23T10:00:00", "colour": 1}
    told = fields(await client.post("/v1/orders", json=wrong))
    assert told["lines[0].quantity"] == "must be at least 1"
    assert told["lines[1].sku"] == "is missing: give a value"
    assert told["lines[1].quantity"] == "must be a whole number"
    assert told["colour"] == "is not a field of this request: leave it out"
    assert "must be a UUID" in told["shop_id"]
    assert "2026-11-23T09:00:00Z" in told["at"]
    assert "lines[0].sku" in told


async def test_a_wrong_query_parameter_is_named(client: httpx.AsyncClient) -> None:
    assert fields(await client.get("/v1/orders?limit=0")) == {"limit": "must be at least 1"}


@pytest.mark.parametrize("value", [10**400, -(10**30), 1e308, None, [], {}, "9" * 1000])
async def test_no_number_is_too_odd_for_a_422(client: httpx.AsyncClient, value: object) -> None:
    assert "lines[0].quantity" in fields(await client.post("/v1/orders", json={**RIGHT, "lines": [{"sku": "a", "quantity": value}]}))


@pytest.mark.parametrize("body", [b'{"lines', b"{'a': 1}", b"[" * 1900, b'{"a": 1} x', b'{"a": "\x00"}', b"\xff\xfe\xfa", b"9" * 1900])
async def test_a_body_that_is_no_json_is_a_400_or_422_and_never_more(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})
    problem(response, 400 if response.status_code == 400 else 422)


@pytest.mark.parametrize("text", [r"\u0000", r"a\ud800b", r"\uDFFF", "\\ud83d\\ud83d"])
async def test_text_that_cannot_be_stored_is_named(client: httpx.AsyncClient, text: str) -> None:
    body = json.dumps({**RIGHT, "note": "TEXT"}).replace("TEXT", text)
    told = fields(await client.post("/v1/orders", content=body, headers={"Content-Type": "application/json"}))
    assert list(told) == ["note"]


async def test_a_field_whose_name_is_no_text_is_a_422(client: httpx.AsyncClient) -> None:
    for name in (r"\ud800", r"\u0000"):
        response = await client.post("/v1/orders", content=f'{{"{name}": 1}}', headers={"Content-Type": "application/json"})
        assert fields(response)


async def test_surrogates_smuggled_as_bytes_are_named_too(client: httpx.AsyncClient) -> None:
    body = b'{"shop_id": "%s", "lines": [], "note": "\xed\xa0\x80"}' % str(TENANT).encode()
    assert list(fields(await client.post("/v1/orders", content=body, headers={"Content-Type": "application/json"}))) == ["note"]


async def test_the_answer_to_many_bad_characters_stays_short(client: httpx.AsyncClient) -> None:
    body = json.dumps({"k" * 900: ["\0"] * 100})
    response = await client.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert len(fields(response)) <= 100
    assert max(map(len, fields(response))) <= 200


async def test_allow_names_the_methods_of_every_route_at_the_address(client: httpx.AsyncClient) -> None:
    response = await client.delete("/v1/orders")
    problem(response, 405)
    assert response.headers["allow"] == "GET, POST"


async def test_a_nul_in_the_query_or_path_is_named(client: httpx.AsyncClient) -> None:
    assert list(fields(await client.get("/v1/orders?q=%00"))) == ["q"]
    assert list(fields(await client.get("/v1/fail/%00"))) == ["path"]


async def test_a_body_over_the_limit_is_a_413_announced_or_not(client: httpx.AsyncClient) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    for content in (b"x" * 2_001, drip()):
        problem(await client.post("/v1/orders", content=content), 413)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense", ""])
async def test_a_body_that_is_not_said_to_be_json_is_a_415(client: httpx.AsyncClient, kind: str) -> None:
    problem(await client.post("/v1/orders", content=b'{"a": 1}', headers={"Content-Type": kind} if kind else {}), 415)


async def test_an_unknown_address_is_a_404_and_a_wrong_method_a_405_that_names_the_right(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/nothing"), 404)
    response = await client.delete("/v1/tenants")
    problem(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(("how", "status"), [("bug", 500), ("statement", 500), ("lost", 503), ("outage", 503), ("refused", 503)])
async def test_a_failure_inside_tells_nothing_of_itself(client: httpx.AsyncClient, how: str, status: int) -> None:
    response = await client.get(f"/v1/fail/{how}")
    told = problem(response, status)
    assert "Traceback" not in response.text
    if status == 500:
        assert told["request_id"] in told["detail"]
    else:
        assert int(response.headers["retry-after"]) >= 1


async def test_a_problem_raised_by_a_route_arrives_whole(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/fail/problem")
    told = problem(response, 409)
    assert (told["type"], told["detail"]) == ("urn:oaas:problem:illegal-transition", "not now")
    assert told["errors"] == [{"field": "status", "message": "is READY"}]
    assert response.headers["x-a"] == "b"


async def test_without_a_valid_token_it_is_a_401_with_a_challenge() -> None:
    async with reaching(application()) as client:
        for sent in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer x.y.z"}):
            response = await client.post("/v1/orders", json=RIGHT, headers=sent)
            problem(response, 401)
            assert response.headers["www-authenticate"].startswith('Bearer realm="oaas"')
        response = await client.get("/v1/orders", headers={"Authorization": f"Bearer {signed(exp=1)}"})
        assert "expired" in problem(response, 401)["detail"]
        assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_a_missing_scope_is_a_403_that_names_it() -> None:
    async with reaching(application(), Authorization=f"Bearer {signed(exp=4_000_000_000, scope='catalog:read')}") as client:
        response = await client.get("/v1/orders")
        assert "orders:read or ops" in problem(response, 403)["detail"]
        assert 'scope="orders:read ops"' in response.headers["www-authenticate"]
        assert "tenants:admin" in problem(await client.post("/v1/tenants"), 403)["detail"]


async def test_a_token_without_a_tenant_serves_administrators_only() -> None:
    token = signed(exp=4_000_000_000, tenant_id=None, scope="orders:read tenants:admin")
    async with reaching(application(), Authorization=f"Bearer {token}") as client:
        assert "tenant_id" in problem(await client.get("/v1/orders"), 403)["detail"]
        assert (await client.post("/v1/tenants")).json() == "ada"


def test_a_dependency_for_an_unknown_scope_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="unknown scope"):
        caller_with("orders:raed")


def test_a_route_tells_which_scopes_it_asks_for() -> None:
    found = {route.name: scopes_of(route.dependant) for route in router().routes}  # type: ignore[attr-defined]
    assert found == {"order": {"orders:write"}, "orders": {"orders:read", "ops"}, "fail": frozenset(), "tenants": {"tenants:admin"}}


async def test_the_openapi_document_shows_problems_and_scopes(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/orders"]["post"]
    assert operation["security"] == [{"bearer": ["orders:write"]}]
    assert {"400", "401", "403", "404", "409", "413", "415", "422", "500", "503"} <= operation["responses"].keys()
    schema = operation["responses"]["422"]["content"]["application/problem+json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Problem"}
    assert document["components"]["schemas"]["Problem"]["properties"]["errors"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert (await client.get("/docs")).status_code == 200


async def test_health_and_metrics_need_no_token() -> None:
    async with reaching(application(Check("broker", well))) as client:
        assert (await client.get("/health/live")).json() == {"status": "live"}
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "checks": {"broker": {"ok": True}}})
        assert "seen_total 1.0" in (await client.get("/metrics")).text


async def test_not_ready_says_which_check_failed_and_not_how_it_is_reached() -> None:
    async with reaching(application(Check("broker", broken), Check("database", well))) as client:
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"] == {
            "broker": {"ok": False, "detail": "cannot be reached (ConnectionRefusedError)"},
            "database": {"ok": True},
        }
        assert CANARY not in ready.text
