"""What is done is forgotten after its time; what nobody has seen to is not, however old it is."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.retention import Retention
from infra.service import Running
from infra.settings import Settings
from infra.transaction import Transactions
from services.ops.desk import forgetting
from services.ops.desk.forgetting import Forgetting
from services.ops.main import FORGETS
from tests.conformance.places import opened
from tests.integration.rows import insert, rows_of


async def no_backlog(_queue: str) -> int:
    return 0


@pytest.fixture
async def ops(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "ops") as transactions:
        yield transactions


@pytest.fixture
async def running(settings: Settings, ops: Transactions) -> AsyncIterator[Running]:
    sweeper = open_pool(settings, "ops", "sweeper", 1)
    hurried = settings.model_copy(update={"retention_pause_s": 0.001})
    yield Running(ops, [], sweeper, hurried, no_backlog)
    await sweeper.dispose()


async def keep(ops: Transactions, tenant_id: TenantId, number: int, state: str, age: timedelta, saga: str = "PARKED") -> None:
    """A letter and a saga that have been so for so long."""
    rows: dict[str, Any] = rows_of(tenant_id, number)
    rows["ops.letter"] |= {"state": state, "changed_at": now() - age, "first_died_at": now() - age}
    rows["ops.saga"] |= {"state": saga, "at": now() - age}
    async with ops(tenant_id) as scope:
        for table in ("ops.letter", "ops.death", "ops.saga"):
            statement, values = insert(table, rows[table])
            await scope.connection.execute(statement, *values)


async def add(ops: Transactions, tenant_id: TenantId, table: str, row: dict[str, Any]) -> None:
    async with ops(tenant_id) as scope:
        statement, values = insert(table, row)
        await scope.connection.execute(statement, *values)


async def add_replay(
    ops: Transactions, tenant_id: TenantId, number: int, state: str, ended_at: datetime | None, item_ended_at: datetime
) -> None:
    rows: dict[str, Any] = rows_of(tenant_id, number)
    await add(ops, tenant_id, "ops.replay", rows["ops.replay"] | {"state": state, "ended_at": ended_at})
    await add(ops, tenant_id, "ops.replay_item", rows["ops.replay_item"] | {"state": "LEFT_OUT", "ended_at": item_ended_at})
    await add(ops, tenant_id, "ops.replay_part", rows["ops.replay_part"] | {"planned_at": item_ended_at})


async def walk(running: Running) -> None:
    """As every worker of the desk does beside looking for letters."""
    await Retention("ops", FORGETS, running.settings).walk()


async def left(ops: Transactions, tenant_id: TenantId) -> list[tuple[str, ...]]:
    async with ops(tenant_id) as scope:
        letters = await scope.connection.fetch("SELECT state FROM ops.letter ORDER BY state")
        sagas = await scope.connection.fetch("SELECT state FROM ops.saga ORDER BY state")
        assert await scope.connection.fetchval("SELECT count(*) FROM ops.death") == len(letters)
        return [tuple(row["state"] for row in rows) for rows in (letters, sagas)]


async def test_what_was_settled_long_ago_is_forgotten_and_what_waits_is_not(ops: Transactions, running: Running) -> None:
    tenant, keep_for = TenantId(uuid4()), timedelta(days=running.settings.dead_letter_keep_days)
    old, young = keep_for + timedelta(minutes=1), keep_for - timedelta(minutes=1)
    for number, state in enumerate(("SETTLED", "DEAD", "REPLAYING", "ARCHIVED")):
        await keep(ops, tenant, number, state, old)
    await keep(ops, tenant, 4, "ARCHIVED", young)
    await keep(ops, tenant, 5, "SETTLED", young, "COMPLETED")
    await keep(ops, tenant, 6, "DEAD", old, "COMPLETED")
    await keep(ops, tenant, 7, "DEAD", old, "ABANDONED")
    await Forgetting(running).all()
    await walk(running)
    letters, sagas = await left(ops, tenant)
    assert letters == ("ARCHIVED", "DEAD", "DEAD", "DEAD", "REPLAYING", "SETTLED")
    assert sagas == ("COMPLETED", "PARKED", "PARKED", "PARKED", "PARKED", "PARKED")


async def test_replays_go_with_their_items_when_they_ended_long_ago_and_findings_when_they_are_gone(
    ops: Transactions, running: Running
) -> None:
    tenant, keep_for = TenantId(uuid4()), timedelta(days=running.settings.dead_letter_keep_days)
    old, young = now() - keep_for - timedelta(minutes=1), now() - keep_for + timedelta(minutes=1)
    # A replay that goes on may have items that ended long ago: it keeps them all.
    for number, (state, ended_at) in enumerate((("DONE", old), ("CANCELLED", young), ("PAUSED", None))):
        await add_replay(ops, tenant, number, state, ended_at, item_ended_at=old)
    for number, gone_at in enumerate((old, young, None), start=10):
        row = rows_of(tenant, number)["ops.finding"] | {"gone_at": gone_at}
        await add(ops, tenant, "ops.finding", row)
    await walk(running)
    async with ops(tenant) as scope:
        assert [row["state"] for row in await scope.connection.fetch("SELECT state FROM ops.replay ORDER BY state")] == [
            "CANCELLED",
            "PAUSED",
        ]
        kept = "SELECT replay.state FROM ops.replay_item AS item LEFT JOIN ops.replay ON replay.id = replay_id ORDER BY 1"
        assert [row["state"] for row in await scope.connection.fetch(kept)] == ["CANCELLED", "PAUSED"]
        assert await scope.connection.fetchval("SELECT count(*) FROM ops.replay_part") == 2
        assert await scope.connection.fetchval("SELECT count(*) FROM ops.finding") == 2


async def test_many_are_forgotten_piece_by_piece_of_many_tenants(
    ops: Transactions, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_TOGETHER_MAX", 3)
    tenants = [TenantId(uuid4()) for _ in range(3)]
    for tenant in tenants:
        for number in range(5):
            await keep(ops, tenant, number, "SETTLED", timedelta(days=99), "COMPLETED")
    await Forgetting(running).all()
    await walk(running)
    assert [await left(ops, tenant) for tenant in tenants] == [[(), ()]] * 3
