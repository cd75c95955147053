"""Plans of replays: what is in them, what is left out and why, what an operator is told first, and who may plan what."""

import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contracts.addresses import REPLAYS
from contracts.desk import AskIfHandled, HandlingReported
from contracts.values import TenantId
from infra.batch import Batches
from infra.build import build
from infra.clock import now
from services.ops.consumers import HANDLES
from services.ops.desk.model import NOBODY
from tests.integration.messaging import Stage, envelope, working
from tests.integration.replays import QUEUE, Bug, ReplayDesk, inventory_with, lay, note_ended, replay_desk
from tests.integration.workers import oaas_worker, worker_process


@pytest.fixture(scope="module")
async def desk(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplayDesk]:
    """Without any worker: nothing that is planned here is sent."""
    await open_stage.empty()
    async with replay_desk(open_stage, tmp_path_factory.mktemp("desk"), report_within_s=0.1) as desk:
        yield desk


@pytest.fixture
def tenant() -> TenantId:
    return TenantId(uuid4())


@dataclass
class Cost:
    """What a call takes at best: of the processor in this process, where all of the desk but its database is, and by the clock."""

    computing_s: float = math.inf
    waiting_s: float = math.inf

    async def of(self, call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Call it once; returns its answer."""
        computed, began = time.process_time(), time.perf_counter()
        answer = await call()
        self.computing_s = min(self.computing_s, time.process_time() - computed)
        self.waiting_s = min(self.waiting_s, time.perf_counter() - began)
        return answer


async def test_planning_ten_thousand_letters_is_no_work_for_each_of_them(desk: ReplayDesk, tenant: TenantId) -> None:
    for of_tenant in [tenant, *(TenantId(uuid4()) for _ in range(9))]:
        await lay(desk.stage, of_tenant, 1_000, fingerprint=str(tenant))
    planning, showing = Cost(), Cost()
    # The machine has more to do, and its clock runs on meanwhile: the bound by the clock is several times what it takes alone.
    for _ in range(3):
        plan = await planning.of(lambda: desk.plan(fingerprint=str(tenant)))
    assert planning.computing_s < 0.8, planning
    assert planning.waiting_s < 8, planning
    assert (plan["total"], len(plan["by_tenant"]), len(plan["sample"])) == (10_000, 10, 10)
    await desk.stage.administrator.execute("ANALYZE ops.replay_item")
    for _ in range(3):
        seen = await showing.of(lambda: desk.show(plan))
    assert seen["waiting"] == 10_000
    assert showing.computing_s < 0.05, f"cheap enough to be asked for every second: {showing}"
    assert showing.waiting_s < 0.5, f"cheap enough to be asked for every second: {showing}"
    assert len(await desk.outcomes(plan)) == 10_000


async def test_what_is_left_out_is_counted_by_its_reason(desk: ReplayDesk, tenant: TenantId) -> None:
    stage, old = desk.stage, now() - timedelta(days=desk.api.settings.dead_letter_keep_days, minutes=1)
    saga = uuid4()
    [going] = await lay(stage, tenant)
    await lay(stage, tenant, 2, replays_in_vain=3)
    await lay(stage, tenant, 3, at=old)
    await lay(stage, tenant, 4, state="REPLAYING", replay_id=uuid4())
    await lay(stage, tenant, 5, is_readable=False, form="TEXT")
    await lay(stage, tenant, 6, saga_id=saga)
    await lay(stage, tenant, 7, queue="inventory.commands.99")
    [settled] = await lay(stage, tenant, state="SETTLED")
    await note_ended(stage, tenant, saga)
    plan = await desk.plan(tenant=tenant)
    assert plan["sample"] == [str(going)]
    none = dict.fromkeys(plan["left_out"], 0)
    assert plan["left_out"] == none | {"held_back": 2, "too_old": 3, "replaying": 4, "unreadable": 5 + 7, "ended": 6}
    insisting = await desk.plan(tenant=tenant, include_ended=True, include_held_back=True)
    assert insisting["total"] == 1 + 2 + 6
    assert "6 belong to sagas that have ended: nobody will undo what they do" in insisting["warnings"]
    assert (await desk.plan(letters=[settled]))["left_out"] == none | {"not_dead": 1}


async def test_a_plan_is_of_something_that_was_said(desk: ReplayDesk, tenant: TenantId) -> None:
    await lay(desk.stage, tenant)
    nothing: Sequence[dict[str, Any]] = (
        {"filter": {}},
        {"filter": {"all": False}},
        {"filter": {"all": True, "queue": QUEUE}},
        {"filter": {"state": "ARCHIVED"}},
        {"filter": {"que": QUEUE}},
        {"letters": []},
        {"filter": {"queue": QUEUE}, "letters": [str(uuid4())]},
        {},
    )
    for said in nothing:
        answer = await desk.call("POST", "/replays", {"reason": "x"} | said)
        assert answer.status_code == 422, (said, answer.text)
    assert (await desk.call("POST", "/replays", {"filter": {"all": True}})).status_code == 422, "without a reason"
    assert (await desk.call("POST", "/replays", {"reason": "x", "letters": [str(uuid4())]})).status_code == 404
    plan = await desk.done("POST", "/replays", {"reason": "x", "filter": {"all": True}})
    assert (plan["total"] >= 1, plan["filter"]) == (True, {"filter": {"all": True}})


async def test_a_plan_that_is_too_old_cannot_be_started(desk: ReplayDesk, tenant: TenantId) -> None:
    await lay(desk.stage, tenant)
    plan = await desk.plan(tenant=tenant)
    await desk.stage.administrator.execute("UPDATE ops.replay SET expires_at = now() WHERE id = $1::uuid", plan["id"])
    answer = await desk.call("POST", f"/replays/{plan['id']}/start", {})
    assert (answer.status_code, "too old" in answer.json()["detail"]) == (409, True)
    assert (await desk.show(plan))["state"] == "EXPIRED", "nobody has seen to it yet, and nobody can start it"
    seen = {state: (await desk.done("GET", "/replays", None, None, state=state))["replays"] for state in ("PLANNED", "EXPIRED")}
    seen[""] = (await desk.done("GET", "/replays"))["replays"]
    assert [state for state, page in seen.items() if plan["id"] in [one["id"] for one in page]] == ["EXPIRED"]


async def test_a_tenants_operator_plans_and_sees_that_tenants_alone(desk: ReplayDesk, tenant: TenantId) -> None:
    other = TenantId(uuid4())
    [own] = await lay(desk.stage, tenant)
    [others] = await lay(desk.stage, other)
    plan = await desk.plan(tenant, queue=QUEUE)
    assert (plan["total"], plan["sample"], plan["tenant"]) == (1, [str(own)], str(tenant))
    named = await desk.call("POST", "/replays", {"reason": "x", "letters": [str(others)]}, tenant)
    assert named.status_code == 404
    asked = await desk.call("POST", "/replays", {"reason": "x", "filter": {"tenant": str(other)}}, tenant)
    assert asked.status_code == 403
    platform = await desk.plan(tenant=tenant)
    for path in ("", "/outcomes"):
        assert (await desk.call("GET", f"/replays/{platform['id']}{path}", tenant=tenant)).status_code == 404
        assert (await desk.call("GET", f"/replays/{plan['id']}{path}", tenant=other)).status_code == 404
        assert (await desk.call("GET", f"/replays/{plan['id']}{path}", tenant=tenant)).status_code == 200
        assert (await desk.call("GET", f"/replays/{plan['id']}{path}")).status_code == 200, "the platform's see all"
    for verb, body in (("start", {}), ("cancel", {"reason": "x"})):
        assert (await desk.call("POST", f"/replays/{plan['id']}/{verb}", body, other)).status_code == 404
    listed = await desk.done("GET", "/replays", tenant=tenant)
    assert [one["id"] for one in listed["replays"]] == [plan["id"]]


async def test_replays_are_listed_newest_first_page_by_page(desk: ReplayDesk, tenant: TenantId) -> None:
    await lay(desk.stage, tenant)
    plans = [await desk.plan(tenant, queue=QUEUE) for _ in range(3)]
    await desk.done("POST", f"/replays/{plans[1]['id']}/cancel", {"reason": "x"}, tenant)
    first = await desk.done("GET", "/replays", tenant=tenant, limit=2)
    second = await desk.done("GET", "/replays", tenant=tenant, limit=2, cursor=first["next"])
    assert [one["id"] for one in first["replays"] + second["replays"]] == [plan["id"] for plan in reversed(plans)]
    assert second["next"] is None
    planned = await desk.done("GET", "/replays", tenant=tenant, state="PLANNED")
    assert [one["id"] for one in planned["replays"]] == [plans[2]["id"], plans[0]["id"]]


async def test_the_plan_tells_who_runs_the_build_that_failed_and_who_does_not_answer(
    desk: ReplayDesk, tenant: TenantId, tmp_path: Path
) -> None:
    await lay(desk.stage, tenant, 2, build=build())
    await lay(desk.stage, tenant, 1)
    await lay(desk.stage, tenant, 1, queue="orders.commands.0", service="orders")
    async with (
        worker_process(oaas_worker("ops"), desk.stage.settings, tmp_path),
        working(inventory_with(Bug()), desk.stage.settings, tmp_path),
        replay_desk(desk.stage, tmp_path, report_within_s=8) as patient,
    ):
        plan = await patient.plan(tenant=tenant)
    assert plan["warnings"] == [
        f"inventory still runs the build that failed 2 of its 3 letters ({build()})",
        "orders does not answer: is it running? Its 1 letters would wait in orders.commands.0",
    ]
    assert not await desk.stage.rows("SELECT id FROM ops.question WHERE tenant_id = $1", tenant), "nothing is left behind"


async def test_an_answer_is_kept_beside_its_own_question_only(desk: ReplayDesk, tenant: TenantId) -> None:
    letter, question = uuid4(), uuid4()
    insert = "INSERT INTO ops.question (tenant_id, id, letter_id, queue, asked_at) VALUES ($1, $2, $3, 'x', now())"
    await desk.stage.administrator.execute(insert, tenant, question, letter)
    for asked, about in ((uuid4(), letter), (question, uuid4())):
        reported = HandlingReported(letter_id=about, is_handled=True, build="x")
        told = envelope(tenant, reported).model_copy(update={"causationid": asked})
        await Batches(desk.transaction, HANDLES).commit([told])
    read = "SELECT answered_at, is_handled FROM ops.question WHERE id = $1"
    assert [tuple(row) for row in await desk.stage.rows(read, question)] == [(None, None)]


async def test_nobodys_letters_are_nobodys_tenants_to_ask_about(desk: ReplayDesk) -> None:
    [letter] = await lay(desk.stage, NOBODY, is_readable=False, form="TEXT", body="no envelope")
    plan = await desk.plan(letters=[letter])
    assert (plan["total"], plan["by_tenant"]) == (1, {str(NOBODY): 1})
    asked = await desk.stage.rows("SELECT body FROM ops.outbox WHERE exchange = $1 AND tenant_id = $2", REPLAYS, NOBODY)
    assert not [row for row in asked if AskIfHandled.__name__ in json.loads(row["body"])["type"]]
