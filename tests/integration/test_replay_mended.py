"""Replays on real servers: a bug that is mended, one that is not, letters that die again, and what is left alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import aio_pika
import pytest

from contracts.values import TenantId
from infra.clock import now
from tests.integration.messaging import COMMANDS, Stage, a_tenant, parts, reserve, until, working
from tests.integration.replays import QUEUE, Bug, ReplayDesk, inventory_with, replay_desk
from tests.integration.workers import oaas_worker, worker_process

ON_THE_WAY_MAX: Final = 100


@pytest.fixture(scope="module")
async def desk(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplayDesk]:
    """With a worker of the desk as a process of its own, for all tests here; each has its own tenant."""
    await open_stage.empty()
    home = tmp_path_factory.mktemp("desk")
    bound = {"OAAS_REPLAY_ON_THE_WAY_MAX": str(ON_THE_WAY_MAX)}
    async with worker_process(oaas_worker("ops"), open_stage.settings, home, **bound), replay_desk(open_stage, home) as desk:
        yield desk


@pytest.fixture
async def bug(open_stage: Stage, tmp_path: Path) -> AsyncIterator[Bug]:
    """Inventory's worker with a bug."""
    bug = Bug()
    # What a test that failed has left behind.
    await (await open_stage.client.get_queue(QUEUE, ensure=False)).purge()
    async with working(inventory_with(bug), open_stage.settings, tmp_path):
        yield bug


@pytest.fixture
async def tenant(open_stage: Stage) -> TenantId:
    async with parts(open_stage.settings) as inventory:
        return await a_tenant(inventory.transaction, APPLE=10_000)


async def test_hundreds_of_letters_of_a_mended_bug_are_settled_once_each(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    envelopes = [reserve(tenant) for _ in range(400)]
    await desk.stage.publish(COMMANDS, *envelopes[:50])
    await desk.die(envelopes[50:])

    async def all_died() -> bool:
        return (await desk.states(tenant))["DEAD"] == 400

    await until(all_died, lambda: "not all of them died")
    assert sorted(bug.tried) == sorted(envelope.id for envelope in envelopes[:50]), "those died here, the others before"
    bug.is_mended = True
    plan = await desk.plan(tenant=tenant)
    assert (plan["total"], plan["by_queue"], plan["by_tenant"]) == (400, {QUEUE: 400}, {str(tenant): 400})
    await desk.start(plan, rate=500, canary=20)
    seen = await desk.ends(plan)
    assert (seen["settled"], seen["known"], seen["failed"], seen["waiting"], seen["sent"], seen["left_out_now"]) == (400, 0, 0, 0, 0, 0)
    assert await desk.states(tenant) == {"SETTLED": 400}
    assert await desk.handled(tenant) == dict.fromkeys((envelope.id for envelope in envelopes), 1)
    assert await desk.held(tenant) == 400


async def test_while_the_bug_is_there_the_canary_dies_alone(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    envelopes = await desk.dead(tenant, 60)
    plan = await desk.plan(tenant=tenant)
    await desk.start(plan, rate=200, canary=10, stop_above_percent=95)
    stopped = await desk.ends(plan, "STOPPED")
    assert (stopped["failed"], stopped["waiting"], stopped["settled"]) == (10, 50, 0)
    assert stopped["detail"] == "10 of the first 10 failed again"
    letters = await desk.letters(tenant)
    died_again = [one for one in letters.values() if one["replays_in_vain"]]
    assert {(one["state"], one["deaths"], one["replays_in_vain"]) for one in died_again} == {("DEAD", 2, 1)}
    assert len({envelope.id for envelope in envelopes} & bug.tried.keys()) == 10, "nobody tried the others"
    assert all("it died again: Broken: no shelf" in one["detail"] for one in await desk.outcomes(plan, state="FAILED"))
    said = "SELECT actor, reason FROM ops.audit WHERE replay_id = $1::uuid AND verb = 'stop replay' ORDER BY is_copy"
    audited = await desk.stage.rows(said, plan["id"])
    assert [tuple(row) for row in audited] == [
        ("the replay's own rule", stopped["detail"]),
        ("the replay's own rule", "too many letters failed again"),
    ], "and the letters' tenant is told so without counts"

    bug.is_mended = True
    await desk.verb("resume", plan)
    seen = await desk.ends(plan)
    assert (seen["settled"], seen["failed"]) == (50, 10)
    again = await desk.plan(tenant=tenant)
    assert "10 of these letters were replayed before in vain" in again["warnings"]
    await desk.start(again)
    assert (await desk.ends(again))["settled"] == 10


async def test_a_replay_that_begins_well_stops_when_its_newest_letters_fail(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    envelopes = await desk.dead(tenant, 400)
    ordered = sorted(envelopes, key=lambda envelope: envelope.time)
    bug.only = frozenset(envelope.id for envelope in ordered[100:])
    plan = await desk.plan(tenant=tenant)
    await desk.start(plan, rate=100, canary=10, stop_above_percent=20)
    stopped = await desk.ends(plan, "STOPPED")
    assert "of the last" in stopped["detail"]
    assert stopped["settled"] == 100
    assert 20 < stopped["failed"] <= 21 + ON_THE_WAY_MAX
    assert stopped["waiting"] + stopped["sent"] >= 400 - 100 - 21 - ON_THE_WAY_MAX, "no more than were on their way already"


async def test_what_dies_after_the_plan_is_not_in_it(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    planned = await desk.dead(tenant, 5)
    plan = await desk.plan(tenant=tenant)
    newer = await desk.dead(tenant, 5)
    bug.is_mended = True
    await desk.start(plan)
    assert (await desk.ends(plan))["settled"] == 5
    letters = await desk.letters(tenant)
    assert {letters[one.id]["state"] for one in planned} == {"SETTLED"}
    assert {letters[one.id]["state"] for one in newer} == {"DEAD"}


async def test_a_letter_that_died_again_since_the_plan_is_left_out(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    envelopes = await desk.dead(tenant, 2)
    plan = await desk.plan(tenant=tenant)
    await desk.die(envelopes[:1])
    bug.is_mended = True
    await desk.start(plan)
    seen = await desk.ends(plan)
    assert (seen["settled"], seen["left_out_now"]) == (1, 1)
    [left_out] = await desk.outcomes(plan, state="LEFT_OUT")
    assert left_out["detail"] == "it has died again since the plan: plan anew"


async def test_a_letter_whose_message_was_handled_before_changes_nothing(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    bug.is_mended = True
    [envelope] = await desk.dead(tenant, 1)
    await desk.stage.publish(COMMANDS, envelope)

    async def is_handled() -> bool:
        return envelope.id in await desk.handled(tenant)

    await until(is_handled, lambda: "it was not handled")
    plan = await desk.plan(tenant=tenant)
    await desk.start(plan)
    seen = await desk.ends(plan)
    assert (seen["known"], seen["settled"]) == (1, 0)
    assert (await desk.states(tenant), await desk.held(tenant)) == ({"SETTLED": 1}, 1)


async def test_three_replays_in_vain_hold_a_letter_back(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    await desk.dead(tenant, 1)
    for _ in range(3):
        plan = await desk.plan(tenant=tenant)
        assert plan["total"] == 1
        await desk.start(plan)
        assert (await desk.ends(plan))["failed"] == 1
    plan = await desk.plan(tenant=tenant)
    assert (plan["total"], plan["left_out"]["held_back"]) == (0, 1)
    assert (await desk.call("POST", f"/replays/{plan['id']}/start", {})).status_code == 404, "a plan of nothing is not kept"
    insisting = await desk.plan(tenant=tenant, include_held_back=True)
    assert any("replayed in vain 3 times" in warning for warning in insisting["warnings"])
    bug.is_mended = True
    await desk.start(insisting)
    assert (await desk.ends(insisting))["settled"] == 1


async def test_the_rate_is_held(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    bug.is_mended = True
    await desk.dead(tenant, 240)
    plan = await desk.plan(tenant=tenant)
    await desk.start(plan, rate=60)
    seen = await desk.ends(plan)
    assert seen["settled"] == 240
    rows = await desk.stage.rows("SELECT sent_at FROM ops.replay_item WHERE tenant_id = $1 ORDER BY sent_at", tenant)
    took_s = (rows[-1]["sent_at"] - rows[0]["sent_at"]).total_seconds()
    assert 240 / 60 * 0.8 <= took_s <= 240 / 60 * 1.2


@pytest.mark.parametrize("is_json", [False, True], ids=["text", "an envelope without a frame"])
async def test_what_is_no_frame_is_sent_as_it_came_if_it_is_named(desk: ReplayDesk, bug: Bug, tenant: TenantId, is_json: bool) -> None:
    bug.is_mended = True
    body = reserve(tenant).model_dump_json(exclude_none=True) if is_json else f"no envelope {uuid4()}"
    exchange = await desk.stage.client.get_exchange(COMMANDS.exchange, ensure=False)
    await exchange.publish(aio_pika.Message(body.encode(), message_id=str(uuid4())), COMMANDS.routing_key)

    async def died(times: int) -> bool:
        return [row["deaths"] for row in await desk.stage.rows("SELECT deaths FROM ops.letter WHERE body = $1", body)] == [times]

    await until(lambda: died(1), lambda: "it did not die")
    [row] = await desk.stage.rows("SELECT id FROM ops.letter WHERE body = $1", body)
    assert (await desk.plan(since=now().replace(year=2000)))["left_out"]["unreadable"] >= 1
    plan = await desk.plan(letters=[row["id"]])
    assert plan["total"] == 1
    assert any("will most likely die again" in warning for warning in plan["warnings"])
    await desk.start(plan)
    assert (await desk.ends(plan))["failed"] == 1
    assert await died(2), "the same letter, with the same body"
    assert (await desk.handled(tenant), await desk.held(tenant)) == ({}, 0), "nobody has made a message of it"


async def test_nothing_is_sent_after_a_pause_or_a_cancel_is_answered(desk: ReplayDesk, bug: Bug, tenant: TenantId) -> None:
    bug.is_mended = True
    await desk.dead(tenant, 100)
    plan = await desk.plan(tenant=tenant)
    await desk.start(plan, rate=40)
    await desk.comes_to(plan, lambda seen: seen["settled"] > 5)
    paused = await desk.verb("pause", plan)
    assert 0 < paused["waiting"] < 95
    await asyncio.sleep(1)
    later = await desk.show(plan)
    assert (later["state"], later["waiting"]) == ("PAUSED", paused["waiting"])
    assert (await desk.call("POST", f"/replays/{plan['id']}/pause", {"reason": "x"})).status_code == 409
    await desk.verb("resume", plan)
    await desk.comes_to(plan, lambda seen: seen["waiting"] < paused["waiting"])
    cancelled = await desk.verb("cancel", plan)
    assert (cancelled["state"], cancelled["waiting"], cancelled["is_over"]) == ("CANCELLED", 0, True)
    assert (cancelled["cancelled"] > 0, cancelled["left_out_now"]) == (True, 0), "they were as planned"
    final = await desk.comes_to(plan, lambda seen: seen["sent"] == 0)
    assert final["settled"] + final["cancelled"] == 100
    assert await desk.states(tenant) == {"SETTLED": final["settled"], "DEAD": final["cancelled"]}
    told = "SELECT verb, outcome FROM ops.audit WHERE replay_id = $1::uuid AND letter_id IS NULL AND NOT is_copy ORDER BY at, id"
    verbs = await desk.stage.rows(told, plan["id"])
    assert [tuple(row) for row in verbs] == [
        ("plan replay", "DONE"),
        ("start replay", "DONE"),
        ("pause replay", "DONE"),
        ("pause replay", "REFUSED"),
        ("resume replay", "DONE"),
        ("cancel replay", "DONE"),
    ]
