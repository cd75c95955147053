"""Requests that arrive together share a commit, and nothing else: none is told, kept or lost because of its neighbours."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.values import TenantId
from infra.errors import Outage
from infra.gathering import AT_ONCE, Gathering
from infra.settings import Settings
from infra.transaction import Scope
from services.orders.idempotency import Claim
from services.orders.placing import Placing
from services.orders.views import NewOrder
from tests.integration.ordering import Client, ordering, until
from tests.integration.refusals import CHECK_VIOLATED

_MARK = "INSERT INTO orders.idempotency VALUES ($1, $2, repeat('0', 64), $3, '{}', now())"
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
MANY = 20


@pytest.fixture
async def client(settings: Settings, tmp_path: Path) -> AsyncIterator[Client]:
    async with ordering(settings, tmp_path) as client:
        yield client


@dataclass
class Marker:
    """Serves requests that are words: each leaves a row, if nothing is wrong with it."""

    client: Client
    broken: dict[str, Exception] = field(default_factory=dict)
    seen: list[list[str]] = field(default_factory=list)

    async def serve(self, scope: Scope, words: Sequence[str]) -> list[str]:
        self.seen.append(list(words))
        for word in words:
            await scope.connection.execute(_MARK, scope.tenant_id, word, uuid4())
        for word in words:
            if word in self.broken:
                raise self.broken[word]
        return [word.upper() for word in words]

    async def ask(self, gathering: Gathering[str, str], *words: str) -> list[str | BaseException]:
        asked = (gathering.ask(self.client.tenant_id, word) for word in words)
        return await asyncio.gather(*asked, return_exceptions=True)

    async def left(self) -> set[str]:
        async with self.client.transaction(self.client.tenant_id) as scope:
            rows = await scope.connection.fetch("SELECT key FROM orders.idempotency WHERE tenant_id = $1", scope.tenant_id)
        return {row["key"] for row in rows}


async def test_orders_that_arrive_together_share_a_commit(client: Client) -> None:
    answers = await asyncio.gather(*(client.place(("CAKE", 1 + number)) for number in range(MANY)))
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.json()["total_pence"] for answer in answers] == [120 * (1 + number) for number in range(MANY)]
    async with client.transaction(client.tenant_id) as scope:
        commits = await scope.connection.fetchval(
            "SELECT count(DISTINCT xmin::text) FROM orders.customer_order WHERE tenant_id = $1", client.tenant_id
        )
    assert commits <= AT_ONCE + 2
    assert len(await client.sent("orders.OrderPlaced.v1")) == MANY


async def test_tenants_share_a_commit_and_see_nothing_of_each_other(client: Client) -> None:
    others = [replace(client, tenant_id=TenantId(uuid4())) for _ in range(4)]
    for other in others:
        await other.learn(price_pence=100 + others.index(other))
    answers = await asyncio.gather(*(one.place(Idempotency_Key="same") for one in (client, *others)))
    assert [answer.json()["total_pence"] for answer in answers] == [120, 100, 101, 102, 103]
    assert [await one.count("customer_order") for one in (client, *others)] == [1] * 5


async def test_one_key_twice_in_a_group_is_one_order_and_another_body_is_refused(client: Client) -> None:
    placing = [client.place(Idempotency_Key="one") for _ in range(5)] + [client.place(("CAKE", 2), Idempotency_Key="one")]
    *alike, other = await asyncio.gather(*placing)
    assert ({answer.status_code for answer in alike}, len({answer.text for answer in alike})) == ({202}, 1)
    assert (other.status_code, other.json()["title"]) == (422, "Idempotency-Key reused")
    assert await client.count("customer_order") == 1
    assert len(await client.sent("orders.OrderPlaced.v1")) == 1


async def test_a_refused_request_leaves_its_key_to_the_next_in_its_group(client: Client) -> None:
    wrong, right = await asyncio.gather(client.place(("NONE", 1), Idempotency_Key="one"), client.place(Idempotency_Key="one"))
    assert (wrong.status_code, right.status_code) == (422, 202)


async def test_two_processes_with_one_key_place_one_order(client: Client) -> None:
    """The second waits at the key of the first, finds it taken, begins anew and answers as the first did."""
    body = NewOrder.model_validate(client.body())
    claim = Claim("one", "f" * 64)
    first, second = Placing(client.transaction), Placing(client.transaction)
    async with client.transaction(client.tenant_id) as scope:
        # What the first process has not committed yet, by hand: the row of its key.
        await scope.connection.execute("SAVEPOINT claimed")
        await scope.connection.execute(_MARK, client.tenant_id, "one", uuid4())
        placing = [asyncio.create_task(one.place(client.tenant_id, body.asked(), claim)) for one in (first, second)]
        await until(lambda: scope.connection.fetchval(_WAITING), lambda waiting: waiting == 2)
        await scope.connection.execute("ROLLBACK TO SAVEPOINT claimed")
    views = await asyncio.gather(*placing)
    assert views[0] == views[1]
    assert await client.count("customer_order") == 1


async def test_what_breaks_one_request_breaks_no_other(client: Client) -> None:
    marker = Marker(client, {"bad": RuntimeError("a bug")})
    told = await marker.ask(Gathering(client.transaction, marker.serve, 10), "a", "b", "bad", "c")
    assert told[:2] + told[3:] == ["A", "B", "C"]
    assert repr(told[2]) == "RuntimeError('a bug')"
    assert await marker.left() == {"a", "b", "c"}


async def test_what_the_database_refuses_of_one_request_breaks_no_other(client: Client) -> None:
    marker = Marker(client)
    too_long = "x" * 256
    told = await marker.ask(Gathering(client.transaction, marker.serve, 10), "a", "b", too_long, "c")
    assert told[:2] + told[3:] == ["A", "B", "C"]
    assert isinstance(told[2], CHECK_VIOLATED)
    assert await marker.left() == {"a", "b", "c"}


async def test_in_an_outage_all_are_told_and_nothing_is_tried_twice(client: Client) -> None:
    """Whether it was committed nobody knows: what has no key would be placed twice."""
    marker = Marker(client, {"lost": Outage("the connection is gone")})
    told = await marker.ask(Gathering(client.transaction, marker.serve, 10), "a", "b", "lost", "c")
    assert [isinstance(one, Outage) for one in told].count(True) >= 2
    assert [words for words in marker.seen if "lost" in words] == marker.seen[-1:]
    assert await marker.left() == {word.lower() for word in told if isinstance(word, str)}


async def test_a_group_is_bounded(client: Client) -> None:
    marker = Marker(client)
    words = [f"w{number}" for number in range(9)]
    assert await marker.ask(Gathering(client.transaction, marker.serve, 3), *words) == [word.upper() for word in words]
    assert max(len(group) for group in marker.seen) == 3


async def test_a_client_that_goes_away_takes_nobody_with_it(client: Client) -> None:
    """Before its turn it is not served; during it its answer is lost, and nothing else."""
    marker = Marker(client)
    gathering = Gathering(client.transaction, marker.serve, 10)
    async with client.transaction(client.tenant_id) as scope:
        # Somebody else's uncommitted rows: what is served now has to wait for them.
        await scope.connection.execute("SAVEPOINT marked")
        for word in ("a", "b"):
            await scope.connection.execute(_MARK, client.tenant_id, word, uuid4())
        served = [asyncio.create_task(gathering.ask(client.tenant_id, word)) for word in ("a", "b")]
        await until(lambda: scope.connection.fetchval(_WAITING), bool)
        waiting = [asyncio.create_task(gathering.ask(client.tenant_id, word)) for word in ("c", "d")]
        await asyncio.sleep(0)
        for gone in (served[0], waiting[0]):
            gone.cancel()
        await scope.connection.execute("ROLLBACK TO SAVEPOINT marked")
    told = await asyncio.gather(*served, *waiting, return_exceptions=True)
    assert [word if isinstance(word, str) else type(word) for word in told] == [asyncio.CancelledError, "B", asyncio.CancelledError, "D"]
    assert await marker.left() == {"a", "b", "d"}


async def test_each_order_goes_on_with_its_own_clients_journey(client: Client) -> None:
    traces = [f"{number:032x}" for number in range(1, 6)]
    await asyncio.gather(*(client.place(traceparent=f"00-{trace}-00f067aa0ba902b7-00") for trace in traces))
    told = await client.sent("orders.OrderPlaced.v1")
    assert sorted(body.split('"traceparent":"00-')[1][:32] for body in told) == traces
