"""Orders over HTTP, on a real database: what a client sends and sees."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.values import Rejection, TenantId, VatRate
from infra.settings import Settings
from tests.integration.ordering import Client, ordering


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


async def test_an_order_is_placed_pending_with_its_prices(client: Client) -> None:
    await client.learn("MILK", 95, vat_rate=VatRate.ZERO)
    placed = await client.place(("CAKE", 1), ("MILK", 2), ("CAKE", 2))
    order = placed.json()
    assert placed.status_code == 202
    assert placed.headers["Location"] == f"/v1/orders/{order['id']}"
    known = ["id", "status", "rejection", "total_pence", "vat_pence", "lines", "created_at"]
    assert list(order) == [*known, "paid_by_card", "awaiting_acceptance", "cancel_reason"]
    assert (order["paid_by_card"], order["awaiting_acceptance"], order["cancel_reason"]) == (False, False, None)
    assert (order["status"], order["rejection"], order["total_pence"], order["vat_pence"]) == ("PENDING", None, 550, 60)
    cake = {
        "sku": "CAKE",
        "name": "Cake",
        "quantity": 3,
        "unit_price_pence": 120,
        "vat_rate": "STANDARD",
        "total_pence": 360,
        "vat_pence": 60,
    }
    assert order["lines"][0] == cake
    assert order["created_at"].endswith("Z")
    assert (await client.get(f"/v1/orders/{order['id']}")).json() == order
    assert len(await client.sent("orders.OrderPlaced.v1")) == 1


async def test_a_later_price_does_not_change_an_order(client: Client) -> None:
    order = (await client.place()).json()
    await client.learn(price_pence=999, version=2)
    assert (await client.get(f"/v1/orders/{order['id']}")).json()["total_pence"] == 120
    assert (await client.place()).json()["total_pence"] == 999


async def test_an_older_version_that_comes_late_is_ignored(client: Client) -> None:
    await client.learn(price_pence=300, version=3)
    await client.learn(price_pence=200, version=2)
    assert (await client.place()).json()["total_pence"] == 300


async def test_every_unknown_field_is_named(client: Client) -> None:
    body = client.body(("CAKE", 1), ("NONE", 1)) | {"shop_id": str(uuid4())}
    refused = await client.post("/v1/orders", body)
    assert refused.status_code == 422
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in refused.json()["errors"]] == ["shop_id", "lines[1].sku"]
    assert await client.count("customer_order") == 0


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ({"sku": "CAKE", "quantity": 0}, "lines[0].quantity"),
        ({"sku": "CAKE", "quantity": "1"}, "lines[0].quantity"),
        ({"sku": "CAKE", "quantity": 1.0}, "lines[0].quantity"),
        ({"sku": "CAKE", "quantity": True}, "lines[0].quantity"),
        ({"sku": "", "quantity": 1}, "lines[0].sku"),
        ({"sku": "CAKE"}, "lines[0].quantity"),
        ({"sku": "CAKE", "quantity": 1, "price": 1}, "lines[0].price"),
    ],
)
async def test_a_wrong_line_is_named(client: Client, line: dict[str, object], field: str) -> None:
    refused = await client.post("/v1/orders", {"shop_id": str(client.shop_id), "lines": [line]})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize("count", [0, 201])
async def test_the_number_of_lines_is_bounded(client: Client, count: int) -> None:
    lines = [{"sku": "CAKE", "quantity": 1}] * count
    refused = await client.post("/v1/orders", {"shop_id": str(client.shop_id), "lines": lines})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["lines"]


async def test_a_product_that_is_still_on_its_way_is_waited_for(client: Client) -> None:
    placing = asyncio.create_task(client.place(("SOON", 1)))
    await asyncio.sleep(0.05)
    await client.learn("SOON", 10)
    assert (await placing).status_code == 202


async def test_orders_are_listed_newest_first_page_by_page(client: Client) -> None:
    placed = [(await client.place()).json()["id"] for _ in range(5)]
    await client.approve(placed[1])
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/orders", limit=2, **cursor)).json()
        seen += [order["id"] for order in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == placed[::-1]
    pending = (await client.get("/v1/orders", status="PENDING")).json()["items"]
    assert [order["id"] for order in pending] == [placed[index] for index in (4, 3, 2, 0)]
    assert pending[0]["lines"][0]["sku"] == "CAKE"


async def test_a_wrong_cursor_status_or_limit_is_told(client: Client) -> None:
    assert (await client.get("/v1/orders", cursor="nonsense")).status_code == 400
    for wrong in ({"status": "LOST"}, {"limit": 0}, {"limit": 201}):
        assert (await client.get("/v1/orders", **wrong)).status_code == 422


async def test_people_move_an_order_until_it_is_completed(client: Client) -> None:
    order = (await client.place()).json()["id"]
    await client.approve(order)
    moves = [await client.post(f"/v1/orders/{order}/{verb}") for verb in ("prepare", "ready", "complete")]
    assert [(move.status_code, move.json()["status"]) for move in moves] == [(200, "PREPARING"), (200, "READY"), (200, "COMPLETED")]
    (event,) = await client.sent("orders.OrderCompleted.v1")
    assert '"sequence":5' in event


async def test_an_illegal_move_names_the_legal_ones(client: Client) -> None:
    order = (await client.place()).json()["id"]
    pending = await client.post(f"/v1/orders/{order}/prepare")
    assert (pending.status_code, "is PENDING" in pending.json()["detail"]) == (409, True)
    assert pending.json()["detail"].endswith(f"/v1/orders/{order}/cancel; it is still being decided, wait until it is CONFIRMED")
    await client.approve(order)
    early = await client.post(f"/v1/orders/{order}/complete")
    assert early.status_code == 409
    assert f"legal now: POST /v1/orders/{order}/prepare, POST /v1/orders/{order}/cancel" in early.json()["detail"]
    assert await client.sent("orders.OrderCompleted.v1") == []


async def test_another_tenants_order_answers_like_an_unknown_one(client: Client) -> None:
    order = (await client.place()).json()["id"]
    stranger = replace(client, tenant_id=TenantId(uuid4()))
    for foreign, unknown in ((order, str(uuid4())),):
        for path in ("/v1/orders/{}", "/v1/orders/{}/prepare"):
            answers = [await _ask(stranger, path.format(one)) for one in (foreign, unknown)]
            assert [answer[0] for answer in answers] == [404, 404]
            assert answers[0][1].replace(foreign, "X") == answers[1][1].replace(unknown, "X")
    assert (await stranger.get("/v1/orders")).json() == {"items": [], "next": None}


async def test_a_rejected_order_says_why(client: Client) -> None:
    order = (await client.place()).json()["id"]
    await client.reject(order, Rejection.OVER_QUOTA)
    found = (await client.get(f"/v1/orders/{order}")).json()
    assert (found["status"], found["rejection"]) == ("REJECTED", "OVER_QUOTA")
    ended = await client.post(f"/v1/orders/{order}/prepare")
    assert "legal now: none of prepare, ready, complete, cancel: its way has ended" in ended.json()["detail"]


async def _ask(client: Client, path: str) -> tuple[int, str]:
    answer = await (client.post(path) if path.endswith("prepare") else client.get(path))
    return answer.status_code, answer.json()["detail"]
