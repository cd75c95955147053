"""A replay goes on after any process of the desk is killed, wherever that happens; and nothing takes effect twice."""

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from contracts.values import TenantId
from tests.integration.messaging import Stage, a_tenant, parts, working
from tests.integration.replays import Bug, ReplayDesk, inventory_with, lay, replay_desk
from tests.integration.workers import oaas_worker, worker_process

LETTERS: Final = 60
QUICK: Final = {"OAAS_RESEND_AFTER_S": "1", "OAAS_REPLAY_LEASE_S": "2"}
# Where a worker of the desk is while it sends: in the transaction, just after it, before and after the broker has confirmed.
POINTS: Final = ("outbox", "committed", "publish", "confirmed")


@pytest.fixture
async def desk(stage: Stage, tmp_path: Path) -> AsyncIterator[ReplayDesk]:
    """Inventory is mended and works; workers of the desk are the tests'."""
    bug = Bug(is_mended=True)
    async with replay_desk(stage, tmp_path, report_within_s=0.1) as desk, working(inventory_with(bug), stage.settings, tmp_path):
        yield desk


@pytest.fixture
async def tenant(stage: Stage) -> TenantId:
    """With letters that a worker has taken in before."""
    async with parts(stage.settings) as inventory:
        tenant = await a_tenant(inventory.transaction)
    await lay(stage, tenant, LETTERS)
    return tenant


async def sent_at(desk: ReplayDesk, tenant: TenantId) -> list[float]:
    """When each letter was sent, in order, as seconds of the epoch."""
    rows = await desk.stage.rows("SELECT sent_at FROM ops.replay_item WHERE tenant_id = $1 AND sends > 0 ORDER BY sent_at", tenant)
    return [row["sent_at"].timestamp() for row in rows]


async def all_settled(desk: ReplayDesk, tenant: TenantId) -> None:
    """Each letter was settled, each message had its effect once."""
    assert await desk.states(tenant) == {"SETTLED": LETTERS}
    assert set((await desk.handled(tenant)).values()) == {1}
    assert await desk.held(tenant) == LETTERS


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_that_is_killed_while_it_sends_is_replaced(desk: ReplayDesk, tenant: TenantId, tmp_path: Path, point: str) -> None:
    plan = await desk.plan(tenant=tenant)
    async with AsyncExitStack() as stack:
        dying = await stack.enter_async_context(
            worker_process(oaas_worker("ops"), desk.stage.settings, tmp_path, **QUICK, OAAS_CRASH_AT=f"ops:{point}:command:2")
        )
        await desk.start(plan, rate=100)
        assert await dying.ended() == -signal.SIGKILL
    assert (await desk.show(plan))["state"] == "RUNNING"
    async with worker_process(oaas_worker("ops"), desk.stage.settings, tmp_path, **QUICK):
        seen = await desk.ends(plan)
        assert seen["settled"] + seen["known"] == LETTERS, seen
        await all_settled(desk, tenant)


async def test_another_worker_takes_over_within_seconds_and_one_works_at_a_time(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    plan = await desk.plan(tenant=tenant)
    settings = desk.stage.settings
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker_process(oaas_worker("ops"), settings, tmp_path, **QUICK)) for _ in range(2)]
        await desk.start(plan, rate=10)
        await desk.comes_to(plan, lambda seen: seen["settled"] >= LETTERS / 2)
        sent = await sent_at(desk, tenant)
        assert sent[-1] - sent[0] > (len(sent) - 1) / 10 * 0.8, "two workers are not twice as fast"
        await workers[0].end(signal.SIGKILL)
        seen = await desk.ends(plan)
        assert seen["settled"] + seen["known"] == LETTERS
        await all_settled(desk, tenant)
    assert max(later - earlier for earlier, later in pairwise(await sent_at(desk, tenant))) < 10, "the lease of the dead one, and a look"


async def test_a_worker_that_stops_in_order_leaves_its_replay_to_the_next(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    plan = await desk.plan(tenant=tenant)
    async with worker_process(oaas_worker("ops"), desk.stage.settings, tmp_path, **QUICK) as first:
        await desk.start(plan, rate=10)
        await desk.comes_to(plan, lambda seen: seen["settled"] >= 5)
        assert await first.end() == 0
    async with worker_process(oaas_worker("ops"), desk.stage.settings, tmp_path, **QUICK):
        seen = await desk.ends(plan)
        assert (seen["settled"], seen["known"]) == (LETTERS, 0), "what it had sent was published before it ended"
        await all_settled(desk, tenant)


async def test_the_desk_may_die_before_it_hears_the_outcomes(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    plan = await desk.plan(tenant=tenant)
    async with worker_process(oaas_worker("ops"), desk.stage.settings, tmp_path, **QUICK, OAAS_CRASH_AT="ops:inbox:event") as dying:
        await desk.start(plan, rate=100)
        assert await dying.ended() == -signal.SIGKILL
    async with worker_process(oaas_worker("ops"), desk.stage.settings, tmp_path, **QUICK):
        seen = await desk.ends(plan)
        assert seen["settled"] + seen["known"] == LETTERS
        await all_settled(desk, tenant)
