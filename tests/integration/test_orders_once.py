"""Idempotency-Key: a request sent again is answered alike and places nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.values import TenantId
from infra.settings import Settings
from tests.integration.ordering import Client, ordering, until


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


async def test_the_same_key_and_body_get_the_same_answer(client: Client) -> None:
    first = await client.place(Idempotency_Key="one")
    await client.approve(first.json()["id"])
    await client.learn(price_pence=999, version=2)
    again = await client.place(Idempotency_Key="one")
    assert (again.status_code, again.text, again.headers["Location"]) == (202, first.text, first.headers["Location"])
    assert await client.count("customer_order") == 1
    assert len(await client.sent("orders.OrderPlaced.v1")) == 1


async def test_who_would_wait_gets_the_present_state(client: Client) -> None:
    first = await client.place(Idempotency_Key="one")
    await client.approve(first.json()["id"])
    again = await client.place(Idempotency_Key="one", Prefer="wait=5")
    assert again.status_code == 200
    assert again.json() == {**first.json(), "status": "CONFIRMED"}


async def test_the_same_key_with_another_body_is_refused(client: Client) -> None:
    await client.place(Idempotency_Key="one")
    other = await client.place(("CAKE", 2), Idempotency_Key="one")
    assert (other.status_code, other.json()["title"]) == (422, "Idempotency-Key reused")
    assert (await client.place(("CAKE", 2), Idempotency_Key="two")).status_code == 202
    assert await client.count("customer_order") == 2


async def test_a_refused_request_uses_no_key_up(client: Client) -> None:
    assert (await client.place(("NONE", 1), Idempotency_Key="one")).status_code == 422
    assert (await client.place(Idempotency_Key="one")).status_code == 202


async def test_two_tenants_may_use_one_key(client: Client) -> None:
    other = replace(client, tenant_id=TenantId(uuid4()))
    await other.learn()
    ids = {(await one.place(Idempotency_Key="one")).json()["id"] for one in (client, other)}
    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\xe9"])
async def test_a_key_that_is_none_is_told(client: Client, key: str) -> None:
    headers = [(name.encode(), value.encode()) for name, value in client.authorization().items()]
    raw = (b"Idempotency-Key", key.encode("latin-1"))
    refused = await client.api.client.post("/v1/orders", json=client.body(), headers=[*headers, raw])
    assert refused.status_code == 422


async def test_of_many_requests_at_once_with_one_key_one_places_the_order(client: Client) -> None:
    answers = await asyncio.gather(*(client.place(Idempotency_Key="one") for _ in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert await client.count("customer_order") == 1
    assert len(await client.sent("orders.OrderPlaced.v1")) == 1


async def test_the_second_request_waits_for_the_firsts_commit(client: Client) -> None:
    """The key's row is held by an open transaction that then ends without it: the request waits for its lock and goes on."""
    insert = "INSERT INTO orders.idempotency VALUES ($1, 'one', repeat('0', 64), $2, '{}', now())"
    blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    async with client.transaction(client.tenant_id) as scope:
        await scope.connection.execute("SAVEPOINT claimed")
        await scope.connection.execute(insert, client.tenant_id, uuid4())
        placing = asyncio.create_task(client.place(Idempotency_Key="one"))
        await until(lambda: scope.connection.fetchval(blocked), bool)
        assert not placing.done()
        await scope.connection.execute("ROLLBACK TO SAVEPOINT claimed")
    assert (await placing).status_code == 202
    assert await client.count("customer_order") == 1
