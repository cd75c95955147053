"""The desk's worker may be killed anywhere, its servers may go away: every letter is taken in once."""

import asyncio
import signal
from pathlib import Path
from uuid import uuid4

from contracts.addresses import dead_letter_queue
from contracts.values import TenantId
from services.ops.main import SERVICE
from tests.integration.letters import QUEUE, Poison, a_letter, dying, forget_all, publish, rows, taken_in
from tests.integration.messaging import Stage, reserve, until, working
from tests.integration.workers import WorkerProcess, oaas_worker, worker_process


async def died(process: WorkerProcess) -> None:
    assert await process.ended() == -signal.SIGKILL


POINTS = ("consume", "commit", "committed", "ack")


async def test_kills_at_one_point_after_another_lose_no_letter_and_double_none(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    asks = [reserve(TenantId(uuid4())) for _ in range(30)]
    for point in POINTS:
        process = WorkerProcess(oaas_worker("ops"), stage.settings, tmp_path, OAAS_CRASH_AT=f"ops:{point}")
        await process.consumes()
        await publish(stage, *(dying(ask, Poison(point)) for ask in asks))
        await died(process)
    async with worker_process(oaas_worker("ops"), stage.settings, tmp_path):
        found = await taken_in(stage, letters=30, deaths=30 * len(POINTS))
    assert {letter["deaths"] for letter in found} == {len(POINTS)}


async def test_a_process_killed_between_insert_and_commit_has_stored_nothing(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    process = WorkerProcess(oaas_worker("ops"), stage.settings, tmp_path, OAAS_CRASH_AT="ops:commit")
    await process.consumes()
    await publish(stage, a_letter())
    await died(process)
    assert await rows(stage) == []
    async with worker_process(oaas_worker("ops"), stage.settings, tmp_path):
        await taken_in(stage, letters=1)


async def test_a_process_killed_before_its_ack_has_stored_all_and_the_next_acks_it(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    process = WorkerProcess(oaas_worker("ops"), stage.settings, tmp_path, OAAS_CRASH_AT="ops:ack")
    await process.consumes()
    await publish(stage, a_letter())
    await died(process)
    [before] = await rows(stage)

    async def is_back() -> bool:
        return await stage.waiting(dead_letter_queue(QUEUE)) == 1

    await until(is_back, lambda: "the broker has not taken it back")
    async with worker_process(oaas_worker("ops"), stage.settings, tmp_path):
        assert await taken_in(stage, letters=1) == [before]


async def test_a_connection_that_breaks_loses_no_letter_and_draining_goes_on(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    async with working(SERVICE, stage.settings, tmp_path):
        for round_ in range(3):
            await publish(stage, *(a_letter() for _ in range(100)))
            await stage.close_connections()
            await taken_in(stage, letters=100 * (round_ + 1))


async def test_while_the_database_is_away_letters_wait_in_the_broker(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    async with working(SERVICE, stage.settings, tmp_path):
        # As if it were away: nobody may log in as the desk, and whoever had is thrown out.
        await stage.administrator.execute("ALTER ROLE ops_app NOLOGIN")
        try:
            await stage.administrator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ops_app'")
            await publish(stage, *(a_letter() for _ in range(20)))
            await asyncio.sleep(2)
            assert await rows(stage) == []
        finally:
            await stage.administrator.execute("ALTER ROLE ops_app LOGIN")
        await taken_in(stage, letters=20)


async def test_a_worker_that_is_told_to_stop_ends_and_loses_nothing(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    async with worker_process(oaas_worker("ops"), stage.settings, tmp_path) as process:
        await publish(stage, *(a_letter() for _ in range(300)))
        assert await process.end(signal.SIGTERM) == 0
    async with working(SERVICE, stage.settings, tmp_path):
        await taken_in(stage, letters=300)
