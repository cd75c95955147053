"""The direct way takes what is as it should be; everything else goes through the framework, which says what is wrong."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict

from infra.clock import now
from infra.http import Problem, create_app
from infra.http.auth import Caller, caller_with
from infra.http.direct import Direct, Headers, directly
from infra.http.verifier import Verifier
from infra.token import ensure_development_key, issue

NAMES = {"issuer": "https://test", "audience": "oaas"}
JSON = {"Content-Type": "application/json"}
USUAL = b'{"name": "bread"}'


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


def router() -> APIRouter:
    routes = APIRouter()

    @routes.post("/wishes")
    async def long_way(caller: Annotated[Caller, Depends(caller_with("orders:write"))], body: Wish) -> str:
        return "long"

    async def direct_way(request: Request, caller: Caller, body: Wish, headers: Headers) -> Response | None:
        if body.name == "refused":
            raise Problem(409, "Refused", "no")
        return None if body.name == "unusual" else Response(f"direct {caller.tenant_id} {headers.get(b'x-key', b'').decode()}")

    directly(long_way, Direct(Wish, "orders:write", headers=(b"x-key",), unknown=(b"prefer",), serve=direct_way))
    return routes


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    verifier = Verifier(str(ensure_development_key(tmp_path)), "https://test", "oaas")
    app = create_app("test", {"wishes": router()}, verifier=verifier, registry=CollectorRegistry(), body_bytes_max=100)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def token(home: Path, *scopes: str, tenant: bool = True) -> dict[str, str]:
    bearer = issue(home, now(), tenant_id=uuid4() if tenant else None, scopes=scopes, lifetime=timedelta(hours=1), **NAMES)
    return {"Authorization": f"Bearer {bearer}"}


async def test_what_is_as_it_should_be_is_served_directly(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await client.post("/wishes", content=USUAL, headers={**token(tmp_path, "orders:write"), **JSON, "X-Key": "k1"})
    assert answer.text.startswith("direct ")
    assert answer.text.endswith(" k1")


@pytest.mark.parametrize("headers", [{"Content-Type": "application/problem+json"}, {**JSON, "Prefer": "wait=1"}])
async def test_what_it_does_not_understand_goes_the_long_way(client: httpx.AsyncClient, tmp_path: Path, headers: dict[str, str]) -> None:
    answer = await client.post("/wishes", content=USUAL, headers={**token(tmp_path, "orders:write"), **headers})
    assert (answer.status_code, answer.text) == (200, '"long"')


async def test_what_it_gives_back_is_read_again_from_its_beginning(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await client.post("/wishes", content=b'{"name": "unusual"}', headers={**token(tmp_path, "orders:write"), **JSON})
    assert answer.text == '"long"'


async def test_a_header_that_comes_twice_goes_the_long_way(client: httpx.AsyncClient, tmp_path: Path) -> None:
    twice = [*token(tmp_path, "orders:write").items(), *JSON.items(), ("X-Key", "1"), ("X-Key", "2")]
    assert (await client.post("/wishes", content=USUAL, headers=twice)).text == '"long"'


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b'{"name": 1}', 422), (b'{"name": "x", "more": 1}', 422), (b"x" * 101, 413), (b'{"name": "\\u0000"}', 422)],
)
async def test_a_wrong_body_is_told_as_ever(client: httpx.AsyncClient, tmp_path: Path, body: bytes, status: int) -> None:
    answer = await client.post("/wishes", content=body, headers={**token(tmp_path, "orders:write"), **JSON})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


async def test_who_may_not_is_told_as_ever(client: httpx.AsyncClient, tmp_path: Path) -> None:
    callers = [{}, {"Authorization": "Bearer x"}, token(tmp_path, "orders:read"), token(tmp_path, "orders:write", tenant=False)]
    answers = [await client.post("/wishes", content=USUAL, headers={**caller, **JSON}) for caller in callers]
    assert [answer.status_code for answer in answers] == [401, 401, 403, 403]
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/problem+json"}


async def test_a_problem_of_the_direct_way_is_told_as_one(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await client.post("/wishes", content=b'{"name": "refused"}', headers={**token(tmp_path, "orders:write"), **JSON})
    assert (answer.status_code, answer.json()["title"]) == (409, "Refused")
