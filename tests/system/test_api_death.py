"""The API dies after an order's commit, before anybody was told: neither the client nor the coordinator."""

import asyncio
import sys
from uuid import uuid4

import httpx
import pytest

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.up import Platform, wait_until_api_ready
from infra.settings import Settings
from infra.token import token
from tests.system.conftest import HOME

DIES_AFTER_COMMIT = {"OAAS_CRASH_AT": "orders:committed"}


def run_api(running: Platform, **overrides: str) -> None:
    running.supervisor.stop("api")
    running.supervisor.add("api", [sys.executable, "-m", "infra.cli", "api"], {**running.environment, **overrides})


async def test_an_order_whose_answer_was_lost_is_the_same_order_when_asked_again(stage: Stage) -> None:
    retailer = await stage.retailer("Cut Line", {"sourdough": (250, 10)})
    bearer = token(Settings(home=HOME), tenant=str(retailer.tenant_id), scope="orders:read orders:write catalog:read", ttl="1h")["token"]
    headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": str(uuid4())}
    async with httpx.AsyncClient(base_url=stage.running.api_url, headers=headers, timeout=30) as client:
        shop = (await client.get("/v1/shops")).json()["items"][0]["id"]
        body = {"shop_id": shop, "lines": [{"sku": "sourdough", "quantity": 4}]}
        await asyncio.to_thread(run_api, stage.running, **DIES_AFTER_COMMIT)
        try:
            with pytest.raises(httpx.TransportError):
                await _when_it_listens(client, body)
        finally:
            await asyncio.to_thread(run_api, stage.running)
            await asyncio.to_thread(wait_until_api_ready, stage.running)
        again = (await client.post("/v1/orders", json=body, headers={"Prefer": "wait=20"})).json()
        assert again["status"] == "CONFIRMED", again
        assert [order["id"] for order in (await client.get("/v1/orders")).json()["items"]] == [again["id"]]
    await expect_conserved(stage)


async def _when_it_listens(client: httpx.AsyncClient, body: object) -> httpx.Response:
    """The answer to the first request that finds somebody; raises what its connection ended with."""
    for _ in range(300):
        try:
            return await client.post("/v1/orders", json=body)
        except httpx.ConnectError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the API never listened")
