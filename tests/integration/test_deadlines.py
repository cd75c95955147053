"""Saga deadlines are rows, not memory: whoever starts next finds them, and one saga that cannot be moved holds up nobody."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.catalog import name_of
from contracts.messages import Envelope
from contracts.orders import OrderPlaced
from contracts.values import OrderId, OrderLine, SagaId, ShopId, TenantId
from infra import clock
from infra.batch import Batches
from infra.database import open_pool
from infra.errors import Outage
from infra.outbox import Outbox
from infra.service import Running
from infra.settings import Settings
from infra.transaction import Transactions
from sagas.consumers import coordinator
from sagas.engine.coordinator import saga_id
from sagas.engine.deadlines import Deadlines

LONG_AGO = timedelta(hours=1)


@dataclass
class Sagas:
    """The coordinator of one process, its queues always empty."""

    settings: Settings
    pool: AsyncEngine
    sweeper: AsyncEngine
    administrator: asyncpg.Connection

    async def begin_long_ago(self, tenant_id: TenantId) -> SagaId:
        """Start a saga in a process whose clock is an hour behind: its deadlines have passed, and that process is gone."""
        past = Transactions("sagas", self.pool, Outbox("sagas", 5), lambda _: None, lambda: clock.now() - LONG_AGO)
        order = OrderId(uuid4())
        placed = OrderPlaced(
            order_id=order,
            shop_id=ShopId(uuid4()),
            lines=(OrderLine(sku="oats", quantity=1),),
            total=100,
            placed_at=clock.now() - LONG_AGO,
        )
        envelope = Envelope(
            id=uuid4(),
            source="/orders",
            type=name_of(OrderPlaced),
            subject=str(order),
            time=placed.placed_at,
            tenantid=tenant_id,
            data=placed,
        )
        await Batches(past, [coordinator(self.settings).handles()]).commit([envelope])
        return saga_id("place-order", tenant_id, str(order))

    def deadlines(self, takes_messages: Callable[[], Coroutine[Any, Any, None]] | None = None) -> Deadlines:
        present = Transactions("sagas", self.pool, Outbox("sagas", 5), lambda _: None, clock.now)
        running = Running(present, (), self.sweeper, self.settings, _empty)
        if takes_messages is not None:
            running = replace(running, expect_it_takes_messages=takes_messages)
        return Deadlines(coordinator(self.settings), running)

    async def state(self, id: SagaId) -> str:
        return str(await self.administrator.fetchval("SELECT state FROM sagas.saga WHERE id = $1", id))


async def _empty(_: str) -> int:
    return 0


@pytest.fixture
async def sagas(settings: Settings) -> AsyncIterator[Sagas]:
    app, sweeper = open_pool(settings, "sagas", "app", 4), open_pool(settings, "sagas", "sweeper", 2)
    administrator = await asyncpg.connect(settings.postgres_url)
    try:
        yield Sagas(settings, app, sweeper, administrator)
    finally:
        await administrator.close()
        await app.dispose()
        await sweeper.dispose()


async def until_moved(sagas: Sagas, id: SagaId, looks: int = 400) -> str:
    for _ in range(looks):
        if (state := await sagas.state(id)) != "RUNNING":
            return state
        await asyncio.sleep(0.05)
    return "RUNNING"


async def test_a_deadline_that_passed_while_nobody_ran_is_found_by_the_next_process(sagas: Sagas) -> None:
    id = await sagas.begin_long_ago(TenantId(uuid4()))
    running = asyncio.create_task(sagas.deadlines().run())
    try:
        assert await until_moved(sagas, id) == "COMPENSATING"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_no_deadline_passes_while_the_broker_takes_no_messages(sagas: Sagas) -> None:
    id = await sagas.begin_long_ago(TenantId(uuid4()))
    alarm = True

    async def takes_messages() -> None:
        if alarm:
            raise Outage("RabbitMQ takes no messages")

    deadlines = sagas.deadlines(takes_messages)
    with pytest.raises(Outage):
        await deadlines.look()
    assert await sagas.state(id) == "RUNNING"
    alarm = False
    await deadlines.look()
    assert await sagas.state(id) == "COMPENSATING"


async def test_a_damaged_row_holds_up_no_other_saga(sagas: Sagas) -> None:
    tenant = TenantId(uuid4())
    damaged, healthy = [await sagas.begin_long_ago(tenant) for _ in range(2)]
    await sagas.administrator.execute("UPDATE sagas.saga SET instance = '{}' WHERE id = $1", damaged)
    deadlines = sagas.deadlines()
    try:
        await deadlines.look()
        assert [await sagas.state(damaged), await sagas.state(healthy)] == ["RUNNING", "COMPENSATING"]
        # Set aside: the next look leaves it alone.
        assert damaged not in await _due(deadlines)
    finally:
        await sagas.administrator.execute("DELETE FROM sagas.saga WHERE id = $1", damaged)


async def test_a_saga_of_another_release_is_left_to_that_release(sagas: Sagas) -> None:
    foreign = await sagas.begin_long_ago(TenantId(uuid4()))
    await sagas.administrator.execute("UPDATE sagas.saga SET version = 99 WHERE id = $1", foreign)
    deadlines = sagas.deadlines()
    try:
        assert foreign not in await _due(deadlines)
        await deadlines.look()
        # Rows that other tests have damaged on purpose may be set aside; this one is not looked at.
        assert (await sagas.state(foreign), foreign in deadlines._set_aside) == ("RUNNING", False)
    finally:
        await sagas.administrator.execute("DELETE FROM sagas.saga WHERE id = $1", foreign)


async def _due(deadlines: Deadlines) -> list[SagaId]:
    return [saga.id for saga in await deadlines._due.due(clock.now(), 500, deadlines._set_aside_now())]


async def test_two_processes_time_a_saga_out_once(sagas: Sagas) -> None:
    id = await sagas.begin_long_ago(TenantId(uuid4()))
    await asyncio.gather(*(sagas.deadlines().look() for _ in range(4)))
    facts = await sagas.administrator.fetch("SELECT kind, count(*) AS times FROM sagas.saga_event WHERE saga_id = $1 GROUP BY kind", id)
    assert {fact["kind"]: fact["times"] for fact in facts}["COMPENSATING"] == 1
