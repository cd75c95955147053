"""Two operators and one group; a service that is down; letters that are lost on their way; a parked saga."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from contracts.addresses import Address
from contracts.messages import Envelope
from contracts.orders import OrderApproved, OrderPlaced
from contracts.values import OrderId, OrderLine, ShopId, TenantId
from infra.clock import now
from infra.frames import decode
from services.ops.desk import letters
from tests.conformance.places import shop_of
from tests.integration.coordinators import coordinating
from tests.integration.desk import envelope as told
from tests.integration.messaging import REPLIES, Stage, a_tenant, parts, until, working
from tests.integration.replays import QUEUE, Bug, ReplayDesk, inventory_with, lay, note_ended, replay_desk
from tests.integration.workers import oaas_worker, worker_process

RESEND_S: Final = 1
APPROVALS: Final = "orders.commands.0"


@pytest.fixture(scope="module")
async def desk(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplayDesk]:
    """With a worker that soon sends again what has no outcome; inventory is the tests'."""
    await open_stage.empty()
    home = tmp_path_factory.mktemp("desk")
    soon = {"OAAS_REPLAY_RESEND_S": str(RESEND_S), "OAAS_RETRIES_MAX": "1"}
    async with (
        worker_process(oaas_worker("ops"), open_stage.settings, home, **soon),
        replay_desk(open_stage, home, report_within_s=0.1) as desk,
    ):
        yield desk


@pytest.fixture
async def tenant(open_stage: Stage) -> TenantId:
    await (await open_stage.client.get_queue(QUEUE, ensure=False)).purge()
    async with parts(open_stage.settings) as inventory:
        return await a_tenant(inventory.transaction)


async def test_two_operators_who_replay_the_same_group_apply_each_message_once(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    await lay(desk.stage, tenant, 30)
    first, second = await desk.plan(tenant=tenant), await desk.plan(tenant=tenant)
    assert first["total"] == second["total"] == 30
    await desk.start(first, rate=500)
    # Inventory is down: all of them are on their way.
    waiting = await desk.comes_to(first, lambda seen: seen["sent"] == 30)
    assert (waiting["state"], waiting["detail"], waiting["waiting_for"]) == ("RUNNING", "waiting for inventory", {QUEUE: 30})
    assert (await desk.plan(tenant=tenant))["left_out"]["replaying"] == 30
    await desk.start(second, rate=500)
    seen = await desk.ends(second)
    assert seen["left_out_now"] == 30
    details = {one["detail"] for one in await desk.outcomes(second)}
    assert details == {f"it is being replayed by {first['actor']} (replay {first['id']})"}
    async with working(inventory_with(Bug(is_mended=True)), desk.stage.settings, tmp_path):
        seen = await desk.ends(first)
    assert seen["settled"] + seen["known"] == 30
    assert set((await desk.handled(tenant)).values()) == {1}
    assert await desk.held(tenant) == 30


async def test_two_operators_at_the_same_time_share_the_group(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    await lay(desk.stage, tenant, 60)
    plans = [await desk.plan(tenant=tenant) for _ in range(2)]
    async with working(inventory_with(Bug(is_mended=True)), desk.stage.settings, tmp_path):
        for plan in plans:
            await desk.start(plan, rate=60)
        ends = [await desk.ends(plan) for plan in plans]
    assert sum(end["settled"] + end["known"] for end in ends) == 60
    assert sum(end["left_out_now"] for end in ends) == 60
    assert set((await desk.handled(tenant)).values()) == {1}
    assert await desk.held(tenant) == 60


async def test_what_is_lost_on_its_way_is_sent_again(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    await lay(desk.stage, tenant, 3)
    plan = await plan_unasked(desk, tenant)
    await desk.start(plan)
    await lose(desk, plan, 3)

    async def came_again() -> bool:
        return await desk.stage.waiting(QUEUE) == 3

    await until(came_again, lambda: "nothing was sent again")
    async with working(inventory_with(Bug(is_mended=True)), desk.stage.settings, tmp_path):
        seen = await desk.ends(plan)
    assert (seen["settled"], seen["failed"]) == (3, 0)


async def test_what_is_lost_again_and_again_is_given_up_and_replayed_anew(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    await lay(desk.stage, tenant, 1)
    plan = await plan_unasked(desk, tenant)
    await desk.start(plan)
    for _ in range(3):
        await lose(desk, plan, 1)
    seen = await desk.ends(plan)
    assert seen["failed"] == 1
    [outcome] = await desk.outcomes(plan)
    assert outcome["detail"] == "no outcome: it was sent 3 times, its queue is empty, and nobody has told what came of it"
    again = await desk.plan(tenant=tenant)
    await desk.start(again)
    async with working(inventory_with(Bug(is_mended=True)), desk.stage.settings, tmp_path):
        assert (await desk.ends(again))["settled"] == 1


async def test_a_cancelled_replay_holds_no_letter_for_ever(desk: ReplayDesk, tenant: TenantId) -> None:
    await lay(desk.stage, tenant, 2)
    plan = await plan_unasked(desk, tenant)
    await desk.start(plan)
    await desk.comes_to(plan, lambda seen: seen["sent"] == 2)
    cancelled = await desk.verb("cancel", plan)
    assert (cancelled["sent"], await desk.states(tenant)) == (2, {"REPLAYING": 2})
    await lose(desk, plan, 2)
    seen = await desk.comes_to(plan, lambda seen: seen["sent"] == 0)
    assert (seen["failed"], await desk.states(tenant)) == (2, {"DEAD": 2})


async def test_a_letter_whose_saga_ends_after_the_plan_is_left_out(desk: ReplayDesk, tenant: TenantId) -> None:
    saga = uuid4()
    await lay(desk.stage, tenant, 1, saga_id=saga)
    plan, insisting = await desk.plan(tenant=tenant), await desk.plan(tenant=tenant, include_ended=True)
    await note_ended(desk.stage, tenant, saga)
    await desk.start(plan)
    assert (await desk.ends(plan))["left_out_now"] == 1
    [outcome] = await desk.outcomes(plan)
    assert outcome["detail"] == "its saga has ended since the plan"
    await desk.start(insisting)
    await desk.comes_to(insisting, lambda seen: seen["sent"] == 1)
    await desk.verb("cancel", insisting)


async def test_an_edited_letter_goes_as_it_was_edited_and_one_edited_after_the_plan_does_not(desk: ReplayDesk, tenant: TenantId) -> None:
    edited, edited_later = await lay(desk.stage, tenant, 2)
    await edit(desk, tenant, edited)
    plan = await plan_unasked(desk, tenant)
    await edit(desk, tenant, edited_later)
    await desk.start(plan)
    await desk.comes_to(plan, lambda seen: seen["sent"] == seen["left_out_now"] == 1)
    [outcome] = await desk.outcomes(plan, state="LEFT_OUT")
    assert outcome["detail"] == "it was edited after the plan: revision 1, planned 0"
    [frame] = await desk.stage.read(QUEUE, 1)
    [sent] = decode(frame.body)
    assert isinstance(sent, Envelope)
    assert sent.subject == "edited"
    assert frame.headers["x-replay"] == f"{plan['id']}/{edited}"
    assert "x-attempt" not in frame.headers
    await desk.verb("cancel", plan)


async def test_replaying_the_letter_of_a_parked_saga_resumes_it(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    order, bug = OrderId(uuid4()), Bug()
    line = OrderLine(sku="APPLE", quantity=1)
    placed = OrderPlaced(order_id=order, shop_id=ShopId(shop_of(tenant)), lines=(line,), total=100, placed_at=now())
    async with coordinating("timers", desk.stage.settings, tmp_path), working(inventory_with(bug), desk.stage.settings, tmp_path):
        await desk.stage.publish(Address("orders.events", "orders.OrderPlaced.v1.0"), told(tenant, str(order), placed))
        await comes_to(desk, tenant, "sagas.saga", "PARKED")
        await comes_to(desk, tenant, "ops.saga", "PARKED")

        async def died() -> bool:
            return bool(await desk.states(tenant))

        await until(died, lambda: "the letter was not taken in")
        bug.is_mended = True
        plan = await desk.plan(tenant=tenant)
        assert plan["total"] == 1
        await desk.start(plan)
        assert (await desk.ends(plan))["settled"] == 1
        await comes_to(desk, tenant, "sagas.saga", "RUNNING")
        [frame] = await desk.stage.read(APPROVALS, 1)
        [asked] = decode(frame.body)
        approved = told(tenant, str(order), OrderApproved(), sagaid=asked.sagaid, commandid=asked.id)
        await desk.stage.publish(Address("orders.replies", REPLIES), approved)
        await comes_to(desk, tenant, "sagas.saga", "COMPLETED")
        await comes_to(desk, tenant, "ops.saga", "COMPLETED")
    assert (await desk.states(tenant), await desk.held(tenant)) == ({"SETTLED": 1}, 1)


async def edit(desk: ReplayDesk, tenant: TenantId, id: UUID) -> None:
    """An operator has edited the letter."""
    async with desk.transaction(tenant) as scope:
        [letter] = (await letters.lock(scope, [id])).values()
        body = (await letters.current_body(scope, letter)).replace('"subject":"test"', '"subject":"edited"')
        await letters.revise(scope, letter, body, actor="ann", reason="a test", diff="[]")


async def comes_to(desk: ReplayDesk, tenant: TenantId, table: str, state: str) -> None:
    """The tenant's saga is in that state, as that table knows."""
    seen: list[Any] = []

    async def is_so() -> bool:
        seen[:] = await desk.stage.rows(f"SELECT state FROM {table} WHERE tenant_id = $1", tenant)
        return [row["state"] for row in seen] == [state]

    await until(is_so, lambda: f"{table}: {seen}")


async def plan_unasked(desk: ReplayDesk, tenant: TenantId) -> dict[str, Any]:
    """A plan for the tenant's letters, and the question that came with it gone from the queue."""
    plan = await desk.plan(tenant=tenant)
    await lose(desk, plan, 1)
    return plan


async def lose(desk: ReplayDesk, plan: dict[str, Any], count: int) -> None:
    """The broker loses what waits for inventory, once so many messages do."""

    async def is_there() -> bool:
        return await desk.stage.waiting(QUEUE) == count

    await until(is_there, lambda: f"not {count} messages for {plan['id']} came")
    await (await desk.stage.client.get_queue(QUEUE, ensure=False)).purge()
