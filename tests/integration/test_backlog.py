"""Beyond what can be done in some seconds clients are asked to come again; what waits for people keeps nobody busy."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client import CollectorRegistry

from contracts.orders import RequestAcceptance
from contracts.values import TenantId
from infra import backlog, clock
from infra.database import open_pool
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.settings import Settings
from infra.token import ensure_development_key
from infra.unscoped.backlog import OrdersUnderWay
from services.orders.main import SERVICE
from tests.integration.ordering import Client, ordering

FAR_TOO_MANY = 100_000


@dataclass
class Busy:
    """A client of an API that takes in so many orders, beside those of other tests."""

    client: Client
    under_way: OrdersUnderWay

    async def mine(self) -> int:
        now = clock.now()
        return (await self.under_way.count(now, now, FAR_TOO_MANY)).under_way.get(self.client.tenant_id, 0)


@pytest.fixture
async def busy(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Busy]:
    monkeypatch.setattr(backlog, "FRESH_S", -1)
    monkeypatch.setattr(backlog, "USABLE_S", -1)
    sweeper = open_pool(settings, "orders", "sweeper", 1)
    async with ordering(settings, tmp_path) as client:
        yield Busy(client, OrdersUnderWay(sweeper))
    await sweeper.dispose()


async def limited(busy: Busy, home: Path, most: int, share: float) -> Client:
    """The same client at an API with these bounds."""
    settings = busy.client.api.settings.model_copy(update={"backlog_min": most, "backlog_max": most, "backlog_tenant_share": share})
    router = SERVICE.router(busy.client.transaction, settings, busy.under_way._pool)
    assert router is not None
    verifier = Verifier(str(ensure_development_key(home)), settings.issuer, settings.audience)
    app = create_app("test", {"orders": router}, verifier=verifier, registry=CollectorRegistry())
    api = replace(busy.client.api, client=httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test"))
    return replace(busy.client, api=api)


async def test_orders_that_wait_for_people_or_have_ended_are_not_under_way(busy: Busy) -> None:
    done, waiting = await busy.client.confirmed(), await busy.client.placed()
    await busy.client.commit(busy.client.asking(RequestAcceptance(order_id=waiting)))
    assert await busy.mine() == 0
    await busy.client.placed()
    assert (await busy.mine(), done == waiting) == (1, False)


async def test_no_more_are_counted_than_asked_for(busy: Busy) -> None:
    began = clock.now()
    for _ in range(3):
        await busy.client.placed()
    found = await busy.under_way.count(clock.now(), began, 2)
    assert (sum(found.under_way.values()), found.newer <= 2) == (2, True)


async def test_a_tenant_over_its_share_is_told_to_come_again(busy: Busy, tmp_path: Path) -> None:
    client = await limited(busy, tmp_path, FAR_TOO_MANY, 2 / FAR_TOO_MANY)
    answers = [await client.place() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert (answers[2].json()["title"], answers[2].headers["Content-Type"]) == ("Too many orders", "application/problem+json")
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert (await client.get("/v1/orders")).status_code == 200
    other = replace(client, tenant_id=TenantId(uuid4()))
    await other.learn()
    assert (await other.place()).status_code == 202
    await client.approve(answers[0].json()["id"])
    assert (await client.place()).status_code == 202


async def test_once_everything_is_taken_all_are_told_to_come_again(busy: Busy, tmp_path: Path) -> None:
    await busy.client.placed()
    client = await limited(busy, tmp_path, 1, 1)
    refused = await client.place(Idempotency_Key="one")
    assert (refused.status_code, refused.json()["title"]) == (503, "Too busy")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await client.get("/v1/orders")).status_code == 200
    assert (await client.place(Prefer="wait=1")).status_code == 503
    assert (await busy.client.place(Idempotency_Key="one")).status_code == 202
