"""The coordinator remembers the sagas it moved, and trusts that only as far as the row's revision agrees; on a real PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.catalog import name_of
from contracts.inventory import StockReserved
from contracts.messages import Envelope, Message, Reply
from contracts.orders import OrderPlaced
from contracts.tenants import QuotaReserved
from contracts.values import OrderId, OrderLine, SagaId, ShopId, TenantId
from infra import clock
from infra.batch import Batches
from infra.database import open_pool
from infra.outbox import Outbox
from infra.settings import Settings
from infra.transaction import Transactions
from sagas.consumers import coordinator
from sagas.engine.coordinator import saga_id
from sagas.engine.instance import Phase, command_id

TENANT: Final = TenantId(uuid4())


class Process:
    """A coordinator as one process has it, with what it remembers."""

    def __init__(self, settings: Settings, pool: AsyncEngine) -> None:
        transaction = Transactions("sagas", pool, Outbox("sagas", 5), lambda _: None, clock.now)
        self.batches = Batches(transaction, [coordinator(settings).handles()])

    async def hear(self, saga: SagaId | None, data: Message, **more: Any) -> None:
        await self.batches.commit([envelope(saga, data, **more)])


def envelope(saga: SagaId | None, data: Message, **more: Any) -> Envelope:
    subject = more.pop("subject", str(uuid4()))
    known = {"type": name_of(type(data)), "tenantid": TENANT, "sagaid": saga, "subject": subject}
    return Envelope(id=uuid4(), source="/x", time=clock.now(), data=data, **known, **more)


def placed() -> OrderPlaced:
    lines = (OrderLine(sku="oats", quantity=1),)
    return OrderPlaced(order_id=OrderId(uuid4()), shop_id=ShopId(uuid4()), lines=lines, total=100, placed_at=clock.now())


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[AsyncEngine]:
    pool = open_pool(settings, "sagas", "app", 2)
    yield pool
    await pool.dispose()


async def begun(process: Process) -> SagaId:
    order = placed()
    await process.hear(None, order, subject=str(order.order_id))
    return saga_id("place-order", TENANT, str(order.order_id))


async def answer(process: Process, saga: SagaId, step: str, reply: Reply) -> None:
    await process.hear(saga, reply, commandid=command_id(saga, Phase.ASK, step, 1))


async def steps(administrator: asyncpg.Connection, saga: SagaId) -> tuple[str, int]:
    row = await administrator.fetchrow("SELECT step, events FROM sagas.saga WHERE id = $1", saga)
    assert row is not None
    counted = await administrator.fetchval("SELECT count(*) FROM sagas.saga_event WHERE saga_id = $1", saga)
    assert counted == row["events"]
    return row["step"], row["events"]


async def test_what_another_process_moved_meanwhile_is_read_anew(
    settings: Settings, pool: AsyncEngine, administrator: asyncpg.Connection
) -> None:
    one, other = Process(settings, pool), Process(settings, pool)
    saga = await begun(one)
    await answer(other, saga, "reserve-stock", StockReserved(reservation_id=uuid4()))
    await answer(one, saga, "reserve-quota", QuotaReserved())
    # Had the first process trusted its memory, the stock would still be waited for, and its event's number taken twice.
    assert (await steps(administrator, saga))[0] == "approve-order"


async def test_what_was_rolled_back_is_not_remembered(settings: Settings, pool: AsyncEngine, administrator: asyncpg.Connection) -> None:
    process = Process(settings, pool)
    saga = await begun(process)
    stock = envelope(saga, StockReserved(reservation_id=uuid4()), commandid=command_id(saga, Phase.ASK, "reserve-stock", 1))
    stray = envelope(SagaId(uuid4()), QuotaReserved(), commandid=uuid4())
    with pytest.raises(LookupError):
        await process.batches.commit([stock, stray])
    assert (await steps(administrator, saga))[0] == "reserve-quota, reserve-stock"
    await process.batches.commit([stock])
    await answer(process, saga, "reserve-quota", QuotaReserved())
    assert (await steps(administrator, saga))[0] == "approve-order"
