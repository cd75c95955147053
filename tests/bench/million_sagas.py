"""How long operators wait for each filter at a million sagas: `python -m tests.bench.million_sagas [sagas]`.

Starts a PostgreSQL of its own under a temporary folder (or OAAS_BENCH_HOME, which is kept and used again), makes the data, and asks
the real search for every filter alone and in pairs, as the role that searches. Prints p50 and p95; exit code 1 above 200 ms.
"""

import asyncio
import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import combinations
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
from pydantic import SecretStr

from infra.clock import now
from infra.database import open_pool
from infra.dev.postgres import Postgres
from infra.migrate import migrate
from infra.settings import Settings
from infra.unscoped.sagas import SagaSearch
from sagas.engine.instance import State
from sagas.search import SagaFilter, find_page
from tests.bench.million_rows import fill
from tests.integration.desk import at_the_desk

LIMIT_MS: Final = 200
ROUNDS: Final = 40
HTTP_ROUNDS: Final = 20
PAGE: Final = 50
Ask = Callable[[dict[str, Any]], Awaitable[object]]
Row = tuple[str, float, float]

_AGES: Final = ("15m", "2h", "1d", "20d")
_ORDERS: Final = "SELECT tenant_id, id, subject FROM sagas.saga WHERE id = ANY(SELECT md5('saga' || n)::uuid FROM unnest($1::int[]) AS n)"


def drawn(chance: random.Random, some: list[asyncpg.Record]) -> dict[str, Any]:
    """A value for every filter there is."""
    one = chance.choice(some)
    steps = ("reserve-stock", "undo of reserve-stock", "authorise-payment", "no-such-step")
    return {
        "state": chance.choice(list(State)),
        "tenant": one["tenant_id"],
        "saga": chance.choice(("place-order", "cancel-order", "restock", "no-such-saga")),
        "order": one["subject"],
        "step": chance.choice(steps),
        "fingerprint": hashlib.md5(f"fault{chance.randrange(8)}".encode(), usedforsecurity=False).hexdigest(),
        "older_than": chance.choice(_AGES),
        "stuck": True,
    }


async def measured(name: str, rounds: int, ask: Callable[[], Awaitable[object]]) -> Row:
    """Milliseconds at the middle and at the 95th of a hundred, one after the other as a person asks."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    return name, taken[len(taken) // 2], taken[int(len(taken) * 0.95)]


async def measure_filters(search: SagaSearch, some: list[asyncpg.Record], rounds: int = ROUNDS) -> list[Row]:
    """Every filter alone and in pairs, and no filter at all; every other time the second page."""
    chance = random.Random(1)

    async def ask(names: tuple[str, ...]) -> None:
        values = drawn(chance, some)
        asked = SagaFilter(**{name: values[name] for name in names})
        await find_page(search, asked, now(), None, PAGE)

    async def further(names: tuple[str, ...]) -> Row:
        values = drawn(chance, some)
        asked = SagaFilter(**{name: values[name] for name in names})
        first = await find_page(search, asked, now(), None, PAGE)
        return await measured(
            "+".join(names or ("all",)) + ", page 2", rounds, lambda: find_page(search, asked, now(), first.following, PAGE)
        )

    names = list(SagaFilter.model_fields)
    sets: list[tuple[str, ...]] = [(), *((name,) for name in names), *combinations(names, 2)]
    rows = [await measured("+".join(chosen or ("all",)), rounds, lambda chosen=chosen: ask(chosen)) for chosen in sets]  # type: ignore[misc]
    return rows + [await further(chosen) for chosen in ((), ("state",), ("tenant",), ("saga",))]


async def measure_lookups(search: SagaSearch, some: list[asyncpg.Record], numbers: list[int], connection: asyncpg.Connection) -> list[Row]:
    """What `why` and the counts before an act on many ask."""
    chance = random.Random(2)
    everything = SagaFilter(older_than="1s")

    async def id_of(what: str) -> str:
        return str(await connection.fetchval("SELECT md5($1)", what.format(chance.choice(numbers))))

    async def message() -> None:
        assert await search.of_message(UUID(await id_of("message{}.2")), 20)

    async def trace() -> None:
        assert await search.of_trace(await id_of("trace{}"), 20)

    return [
        await measured("id", ROUNDS, lambda: search.tenant_of(chance.choice(some)["id"])),
        await measured("subject", ROUNDS, lambda: search.about(chance.choice(some)["subject"], 20)),
        await measured("message", ROUNDS, message),
        await measured("trace", ROUNDS, trace),
        await measured("count all open", ROUNDS, lambda: search.count(everything.wanted(now()), now())),
        await measured("500 to act on", ROUNDS, lambda: search.open(everything.wanted(now()), now(), None, 500)),
    ]


async def measure_http(settings: Settings, some: list[asyncpg.Record]) -> list[Row]:
    """The same through HTTP, token and JSON included: each filter alone, one saga, one story, a dry run."""
    chance = random.Random(4)
    with tempfile.TemporaryDirectory() as home:
        async with at_the_desk(settings, Path(home)) as desk, httpx.AsyncClient(base_url=desk.base_url, headers=desk.operator) as client:

            async def ask(path: str, **params: Any) -> None:
                (await client.get(f"/v1/ops{path}", params=params)).raise_for_status()

            async def count() -> None:
                body = {"filter": {"older_than": "1s"}, "reason": "how many"}
                (await client.post("/v1/ops/sagas/retry", json=body)).raise_for_status()

            def one(name: str) -> Callable[[], Awaitable[object]]:
                return lambda: ask("/sagas", **({name: str(drawn(chance, some)[name])} if name else {}))

            rows = [await measured(f"HTTP {name or 'all'}", HTTP_ROUNDS, one(name)) for name in ("", *SagaFilter.model_fields)]
            rows.append(await measured("HTTP show", HTTP_ROUNDS, lambda: ask(f"/sagas/{chance.choice(some)['id']}")))
            rows.append(await measured("HTTP why", HTTP_ROUNDS, lambda: ask(f"/why/{chance.choice(some)['subject']}")))
            return [*rows, await measured("HTTP dry run", HTTP_ROUNDS, count)]


def show(rows: list[Row]) -> None:
    """The table, slowest first."""
    for name, p50, p95 in sorted(rows, key=lambda row: -row[2]):
        sys.stdout.write(f"{name:<32} p50 {p50:8.1f} ms   p95 {p95:8.1f} ms{'   ABOVE' if p95 > LIMIT_MS else ''}\n")


async def run(settings: Settings, sagas: int) -> int:
    connection = await asyncpg.connect(settings.postgres_url)
    if not await connection.fetchval("SELECT to_regclass('bench_tenant') IS NOT NULL"):
        began = time.monotonic()
        await fill(connection, sagas)
        sys.stdout.write(f"{sagas} sagas written in {time.monotonic() - began:.0f} s\n")
    chance = random.Random(3)
    numbers = chance.sample(range(1, sagas + 1), 200)
    some = await connection.fetch(_ORDERS, numbers)
    pool = open_pool(settings, "sagas", "sweeper", 2)
    try:
        search = SagaSearch("sagas", pool)
        rows = await measure_filters(search, some) + await measure_lookups(search, some, numbers, connection)
        rows += await measure_http(settings, some)
    finally:
        await pool.dispose()
        await connection.close()
    show(rows)
    return int(any(p95 > LIMIT_MS for _, _, p95 in rows))


def main(sagas: int) -> int:
    """Returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(os.environ.get("OAAS_BENCH_HOME", folder)))
        (postgres.folder.parent / "logs").mkdir(parents=True, exist_ok=True)
        postgres.start()
        try:
            settings = Settings(postgres_url=postgres.url, role_secret=SecretStr("a million sagas"))
            migrate("sagas", "sagas.migrations", settings.postgres_url, settings.role_secret, lambda _: None)
            return asyncio.run(run(settings, sagas))
        finally:
            postgres.stop()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
