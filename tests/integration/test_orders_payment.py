"""What an order is paid with, over HTTP: the card's token goes to the saga and nowhere else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from contracts.values import VatRate
from infra.settings import Settings
from tests.integration.ordering import Client, ordering

TOKEN = "tok_secret_card"
CARD = {"payment": {"token": TOKEN}}


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


async def placed_events(client: Client) -> list[dict[str, Any]]:
    return [from_json(body)["data"] for body in await client.sent("orders.OrderPlaced.v1")]


async def test_the_card_goes_to_the_saga_and_is_never_shown(client: Client) -> None:
    placed = await client.post("/v1/orders", client.body() | CARD, Idempotency_Key="one")
    assert (placed.status_code, placed.json()["paid_by_card"]) == (202, True)
    [event] = await placed_events(client)
    assert event["payment"] == TOKEN
    shown = [placed, await client.get(placed.headers["Location"]), await client.get("/v1/orders")]
    assert [TOKEN in answer.text for answer in shown] == [False] * 3
    async with client.transaction(client.tenant_id) as scope:
        for table in ("customer_order", "order_line", "idempotency"):
            rows = await scope.connection.fetch(f"SELECT * FROM orders.{table} WHERE tenant_id = $1", client.tenant_id)
            assert rows
            assert TOKEN not in repr(rows)


async def test_an_order_on_the_tenants_account_has_no_card(client: Client) -> None:
    for body in (client.body(), client.body() | {"payment": None}):
        assert not (await client.post("/v1/orders", body)).json()["paid_by_card"]
    assert ["payment" in event for event in await placed_events(client)] == [False, False]


@pytest.mark.parametrize(
    ("payment", "field"),
    [
        ({"token": ""}, "payment.token"),
        ({"token": "a b"}, "payment.token"),
        ({"token": "é"}, "payment.token"),
        ({"token": "x" * 201}, "payment.token"),
        ({"token": 4242424242424242}, "payment.token"),
        ({"token": None}, "payment.token"),
        ({}, "payment.token"),
        ({"token": TOKEN, "cvc": "123"}, "payment.cvc"),
        (TOKEN, "payment"),
    ],
)
async def test_a_wrong_card_is_named_and_not_repeated(client: Client, payment: object, field: str) -> None:
    refused = await client.post("/v1/orders", client.body() | {"payment": payment})
    assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, [field])
    assert TOKEN not in refused.text
    assert "4242424242424242" not in refused.text
    assert await client.count("customer_order") == 0


async def test_another_card_is_another_request(client: Client) -> None:
    first = await client.post("/v1/orders", client.body() | CARD, Idempotency_Key="one")
    again = await client.post("/v1/orders", client.body() | CARD, Idempotency_Key="one")
    other = await client.post("/v1/orders", client.body() | {"payment": {"token": "tok_other"}}, Idempotency_Key="one")
    none = await client.place(Idempotency_Key="one")
    assert again.text == first.text
    assert [(answer.status_code, answer.json()["title"]) for answer in (other, none)] == [(422, "Idempotency-Key reused")] * 2


async def test_an_answer_remembered_by_the_release_before_is_given_again(client: Client) -> None:
    first = await client.place(Idempotency_Key="one")
    of_before = {key: value for key, value in first.json().items() if key not in ("paid_by_card", "awaiting_acceptance", "cancel_reason")}
    async with client.transaction(client.tenant_id) as scope:
        # The application may not change an answer, so the one of before is copied beside it.
        copy = """INSERT INTO orders.idempotency SELECT tenant_id, 'of-before', fingerprint, order_id, $2, created_at
            FROM orders.idempotency WHERE tenant_id = $1"""
        await scope.connection.execute(copy, client.tenant_id, to_json(of_before).decode())
    assert (await client.place(Idempotency_Key="of-before")).json() == first.json()


async def test_the_saga_is_told_what_each_vat_rate_comes_to(client: Client) -> None:
    await client.learn("MILK", 95, vat_rate=VatRate.ZERO)
    await client.place(("CAKE", 3), ("MILK", 2))
    [event] = await placed_events(client)
    assert event["vat"] == [{"rate": "ZERO", "total": 190, "vat": 0}, {"rate": "STANDARD", "total": 360, "vat": 60}]
    assert event["total"] == 550
