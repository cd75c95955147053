"""One journey keeps one trace id, from the HTTP request through every service and back."""

import httpx

from infra.dev.demo_stage import Stage
from infra.settings import Settings
from infra.token import token
from tests.system.conftest import HOME

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_the_clients_trace_id_is_on_every_step_that_an_answer_caused(stage: Stage) -> None:
    retailer = await stage.retailer("Red Thread", {"sourdough": (250, 10)})
    bearer = token(Settings(home=HOME), tenant=str(retailer.tenant_id), scope="orders:read orders:write catalog:read", ttl="1h")["token"]
    headers = {"Authorization": f"Bearer {bearer}", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Prefer": "wait=20"}
    async with httpx.AsyncClient(base_url=stage.running.api_url, headers=headers, timeout=30) as client:
        shop = (await client.get("/v1/shops")).json()["items"][0]["id"]
        order = (await client.post("/v1/orders", json={"shop_id": shop, "lines": [{"sku": "sourdough", "quantity": 2}]})).json()
        assert order["status"] == "CONFIRMED", order
        events = (await client.get(f"/v1/orders/{order['id']}/timeline")).json()["events"]
    assert [event["kind"] for event in events if event["trace_id"] != TRACE] == []
    assert {event["kind"] for event in events} >= {"STARTED", "ASKED", "ANSWERED", "COMPLETED"}
