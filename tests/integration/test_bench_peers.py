"""What the benchmark's peers have in common: their steps on PostgreSQL, how their end is judged, and how they get their orders."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from infra.dev.servers import Servers
from tests.bench.figures import WrongEndState
from tests.bench.peers import books
from tests.bench.peers.driving import Driver
from tests.bench.peers.house import fill
from tests.bench.peers.taking import Counter, Hatch
from tests.bench.workload import Work, Workload

WORKLOAD = Workload(tenants=5, skus=3)
DATABASE = "bench_peers"
HARMS = (
    "UPDATE inventory.stock SET available = available - 1 WHERE (tenant, sku) = (0, 0)",
    "UPDATE inventory.stock SET held = held + 1 WHERE (tenant, sku) = (0, 0)",
    "UPDATE tenants.quota SET orders_held = orders_held + 1 WHERE tenant = 0",
    "UPDATE orders.customer_order SET status = 'PENDING' WHERE order_id = 1",
    "DELETE FROM orders.customer_order WHERE order_id = 1",
    "DELETE FROM inventory.reservation WHERE order_id = 1",
    "DELETE FROM tenants.reservation WHERE order_id = 1",
)


@pytest.fixture
async def administrator(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """In a database of its own, with the peers' books filled."""
    server = await asyncpg.connect(servers.postgres_url)
    await server.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
    await server.execute(f"CREATE DATABASE {DATABASE}")
    connection = await asyncpg.connect(servers.postgres_url, database=DATABASE)
    await fill(connection, WORKLOAD)
    yield connection
    await connection.close()
    await server.execute(f"DROP DATABASE {DATABASE}")
    await server.close()


@pytest.fixture
async def driver(administrator: asyncpg.Connection, tmp_path: Path) -> AsyncIterator[Driver]:
    counter = Counter(tmp_path / "orders", WORKLOAD)
    yield Driver("a peer", counter, administrator, dict)
    counter.close()


async def tried_twice(administrator: asyncpg.Connection, statement: str, *values: int) -> bool:
    """Whether the first try gave a row; the second must not change anything, and may be told so."""
    answer = await administrator.fetchval(statement, *values)
    try:
        await administrator.execute(statement, *values)
    except asyncpg.UniqueViolationError:
        assert answer
    return bool(answer)


async def play(administrator: asyncpg.Connection, work: Work) -> None:
    """The saga as each peer plays it."""
    await tried_twice(administrator, books.CREATE, *books.created(work))
    assert await tried_twice(administrator, books.RESERVE_STOCK, *books.of_stock(work))
    if await tried_twice(administrator, books.RESERVE_QUOTA, *books.of_quota(work)):
        await tried_twice(administrator, books.CONFIRM, work.number)
        return
    await tried_twice(administrator, books.RELEASE_STOCK, work.number)
    await tried_twice(administrator, books.REJECT, work.number)


async def test_steps_that_are_tried_twice_are_done_once(administrator: asyncpg.Connection, driver: Driver) -> None:
    for work in WORKLOAD.orders(0, 60):
        await play(administrator, work)
    driver.handed_out = 60
    await driver.check()


async def test_books_that_are_off_are_no_end(administrator: asyncpg.Connection, driver: Driver) -> None:
    for work in WORKLOAD.orders(0, 5):
        await play(administrator, work)
    driver.handed_out = 5
    for harm in HARMS:
        mended = administrator.transaction()
        await mended.start()
        await administrator.execute(harm)
        with pytest.raises(WrongEndState):
            await driver.check()
        await mended.rollback()
    await driver.check()


def test_each_order_is_taken_by_one_client(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "orders", WORKLOAD)

    def take() -> list[int]:
        hatch = Hatch(environment=counter.environment)
        return [hatch.take() for _ in range(5_000)]

    with ThreadPoolExecutor(4) as clients:
        taken = [clients.submit(take) for _ in range(4)]
        counter.hand_out(0, 20_000)
        assert sorted(number for one in taken for number in one.result()) == list(range(20_000))
    counter.close()
