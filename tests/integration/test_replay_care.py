"""What looks after replays and letters goes on whatever fails, and sends nothing for a replay that is halted."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.service import Running
from infra.unscoped.replays import ReplaySearch
from services.ops.replay.replaying import execute_replays
from services.ops.taking_in.ingest import Ingest
from tests.integration.messaging import Stage, parts, until
from tests.integration.replays import QUEUE, ReplayDesk, lay, replay_desk

LOST_S: Final = 7200.0
"""Longer ago than a letter without an outcome is waited for."""


@pytest.fixture
async def desk(stage: Stage, tmp_path: Path) -> AsyncIterator[ReplayDesk]:
    """Without a worker, and without a service that would take what is sent."""
    async with replay_desk(stage, tmp_path) as desk:
        yield desk


@asynccontextmanager
async def running(stage: Stage, **overrides: Any) -> AsyncIterator[Running]:
    """As a worker of the desk has it; every queue is said to be empty."""
    settings = stage.settings.model_copy(update=overrides)

    async def backlog(_queue: str) -> int:
        return 0

    async with parts(settings, "ops") as own:
        sweeper = open_pool(settings, "ops", "sweeper", 2)
        yield Running(own.transaction, (), sweeper, settings, backlog)
        await sweeper.dispose()


@asynccontextmanager
async def executing(running: Running) -> AsyncIterator[asyncio.Task[None]]:
    """The executor, until the end of the test."""
    task = asyncio.create_task(execute_replays(running))
    yield task
    task.cancel()
    await asyncio.wait([task])


async def items(stage: Stage, plan: Mapping[str, Any]) -> list[tuple[str, int]]:
    """State and number of sends of each letter."""
    rows = await stage.rows("SELECT state, sends FROM ops.replay_item WHERE replay_id = $1 ORDER BY number", UUID(plan["id"]))
    return [(row["state"], row["sends"]) for row in rows]


async def sent_long_ago(desk: ReplayDesk, tenant: TenantId) -> dict[str, Any]:
    """A replay of one letter that was sent, and of which nobody has told."""
    await lay(desk.stage, tenant)
    plan = await desk.plan(tenant=tenant)
    await desk.start(plan)
    async with running(desk.stage) as own, executing(own):
        await desk.comes_to(plan, lambda seen: seen["sent"] == 1)
    ago = timedelta(seconds=LOST_S)
    await desk.stage.administrator.execute(
        "UPDATE ops.replay_item SET sent_at = sent_at - $2::interval WHERE replay_id = $1", UUID(plan["id"]), ago
    )
    return plan


async def test_a_statement_timeout_ends_no_executor(desk: ReplayDesk) -> None:
    tenant = TenantId(uuid4())
    await lay(desk.stage, tenant, 3)
    plan = await desk.plan(tenant=tenant)
    await desk.start(plan)
    other = await asyncpg.connect(desk.stage.settings.postgres_url)
    try:
        async with running(desk.stage, statement_timeout_s=0.2) as own:
            async with other.transaction():
                await other.execute("LOCK TABLE ops.replay IN ACCESS EXCLUSIVE MODE")
                task = asyncio.create_task(execute_replays(own))
                await asyncio.wait([task], timeout=1.5)
                assert not task.done(), task.exception()
            await desk.comes_to(plan, lambda seen: seen["sent"] == 3, patience_s=10)
            task.cancel()
            await asyncio.wait([task])
    finally:
        await other.close()


@pytest.mark.parametrize("state", ["PAUSED", "STOPPED", "CANCELLED"])
async def test_a_lost_outcome_of_a_replay_that_is_halted_gives_its_letter_back_unsent(desk: ReplayDesk, state: str) -> None:
    tenant = TenantId(uuid4())
    plan = await sent_long_ago(desk, tenant)
    if state == "STOPPED":
        await desk.stage.administrator.execute("UPDATE ops.replay SET state = 'STOPPED' WHERE id = $1", UUID(plan["id"]))
    else:
        await desk.verb("pause" if state == "PAUSED" else "cancel", plan)
    async with running(desk.stage) as own, executing(own):

        async def is_given_back() -> bool:
            return await desk.states(tenant) == {"DEAD": 1}

        await until(is_given_back, lambda: "its letter is REPLAYING for ever")
    assert await items(desk.stage, plan) == [("FAILED", 1)]


async def test_nothing_is_sent_again_after_a_pause_is_committed(desk: ReplayDesk) -> None:
    """The pause holds the replay's row when the worker finds the lost letter, and commits only then."""
    tenant = TenantId(uuid4())
    plan = await sent_long_ago(desk, tenant)
    # Somebody else has its lease: only the care for lost letters comes to it.
    await desk.stage.administrator.execute(
        "UPDATE ops.replay SET lease_holder = $2, lease_until = 'infinity' WHERE id = $1", UUID(plan["id"]), uuid4()
    )
    other = await asyncpg.connect(desk.stage.settings.postgres_url)
    try:
        async with running(desk.stage) as own:
            async with other.transaction():
                await other.execute("UPDATE ops.replay SET state = 'PAUSED' WHERE id = $1", UUID(plan["id"]))
                task = asyncio.create_task(execute_replays(own))
                await asyncio.sleep(1)
            assert [sends for _, sends in await items(desk.stage, plan)] == [1]
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait([task])
    finally:
        await other.close()
    assert [sends for _, sends in await items(desk.stage, plan)] == [1]


async def test_a_letter_that_is_too_old_is_given_up_and_not_sent_again(desk: ReplayDesk) -> None:
    tenant = TenantId(uuid4())
    plan = await sent_long_ago(desk, tenant)
    await desk.stage.administrator.execute(
        "UPDATE ops.letter SET first_died_at = first_died_at - interval '60 days' WHERE tenant_id = $1", tenant
    )
    async with running(desk.stage) as own, executing(own):
        await desk.comes_to(plan, lambda seen: seen["failed"] == 1, patience_s=10)
    assert await items(desk.stage, plan) == [("FAILED", 1)]


async def test_what_a_step_needs_to_know_costs_the_same_however_much_was_sent(stage: Stage) -> None:
    """Counted in rows and pages that are read: time would tell of the machine."""
    id, begin = uuid4(), now() - timedelta(days=1)
    fill = """
        INSERT INTO ops.replay_item
            (tenant_id, replay_id, letter_id, number, queue, state, revision, deaths, sends, detail, sent_at, ended_at)
        SELECT gen_random_uuid(), $1, gen_random_uuid(), n, $2, 'SETTLED', 0, 1, 1, '', $3::timestamptz + n * interval '1 ms',
            $3::timestamptz + n * interval '2 ms' FROM generate_series(1, 20000) AS n"""
    await stage.administrator.execute(fill, id, QUEUE, begin)
    await stage.administrator.execute("ANALYZE ops.replay_item")
    pool = open_pool(stage.settings, "ops", "sweeper", 1)
    search = ReplaySearch(pool)

    async def read() -> int:
        # One session's numbers reach the statistics when it ends.
        await pool.dispose()
        row = await stage.administrator.fetchrow(
            "SELECT coalesce(idx_tup_fetch, 0) + seq_tup_read AS n FROM pg_stat_user_tables"
            " WHERE relname = 'replay_item' AND schemaname = 'ops'"
        )
        return int(row["n"])

    before = await read()
    trusted = await search.recent(id, begin, 0, 100)
    canary = await search.recent(id, begin, 30, 100)
    assert (trusted.begun, canary.begun, canary.outcomes) == (0, 30, 100)
    await asyncio.sleep(1)
    assert await read() - before < 1_000
    await pool.dispose()
    await stage.administrator.execute("DELETE FROM ops.replay_item WHERE replay_id = $1", id)


class Odd:
    """A header that cannot be written out as text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        return "odd"


@dataclass
class Delivered:
    """As much of a message of aio-pika as is taken from it."""

    headers: dict[str, Any]
    body: bytes = b"[]"
    message_id: str = field(default_factory=lambda: str(uuid4()))
    acked: asyncio.Event = field(default_factory=asyncio.Event)

    async def ack(self) -> None:
        self.acked.set()


async def test_a_letter_that_cannot_even_be_opened_is_kept_as_a_husk(stage: Stage) -> None:
    async with running(stage) as own:
        draining = Ingest(own)
        odd, sound = Delivered({"x-odd": Odd()}), Delivered({})
        for one in (odd, sound):
            draining.take(one, QUEUE)  # type: ignore[arg-type]  # the broker gives no such header: aio-pika's decoder would have to
        task = asyncio.create_task(draining.run())
        await asyncio.wait([task, asyncio.create_task(odd.acked.wait())], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), task.exception()
        assert odd.acked.is_set()
        await asyncio.wait_for(sound.acked.wait(), 10)
        task.cancel()
        await asyncio.wait([task])
    [husk] = await stage.rows("SELECT form FROM ops.letter WHERE headers LIKE '%odd%'")
    assert husk["form"] == "BASE64"
