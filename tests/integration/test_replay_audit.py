"""What the audit tells of a replay: what came of each letter, for good, to whoever may know of it, and of nobody else's letters."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.values import TenantId
from services.ops.desk.model import NOBODY
from tests.integration.messaging import Stage, a_tenant, parts, working
from tests.integration.replays import QUEUE, Bug, ReplayDesk, inventory_with, lay, replay_desk
from tests.integration.workers import oaas_worker, worker_process


@pytest.fixture(scope="module")
async def desk(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplayDesk]:
    """With a worker of the desk."""
    await open_stage.empty()
    home = tmp_path_factory.mktemp("desk")
    async with worker_process(oaas_worker("ops"), open_stage.settings, home), replay_desk(open_stage, home, report_within_s=0.1) as desk:
        yield desk


@pytest.fixture
async def bug(open_stage: Stage, tmp_path: Path) -> AsyncIterator[Bug]:
    """Inventory's worker with a bug."""
    bug = Bug()
    await (await open_stage.client.get_queue(QUEUE, ensure=False)).purge()
    async with working(inventory_with(bug), open_stage.settings, tmp_path):
        yield bug


@pytest.fixture
async def tenants(open_stage: Stage) -> list[TenantId]:
    """Two that have stock."""
    async with parts(open_stage.settings) as inventory:
        return [await a_tenant(inventory.transaction) for _ in range(2)]


async def audit(desk: ReplayDesk, tenant: TenantId | None = None, **params: Any) -> list[dict[str, Any]]:
    """All entries that fit, the newest first, as an operator of the platform or of a tenant."""
    found: list[dict[str, Any]] = (await desk.done("GET", "/audit", tenant=tenant, limit=200, **params))["entries"]
    return found


async def test_the_audit_tells_what_came_of_each_letter_of_a_replay(desk: ReplayDesk, bug: Bug, tenants: list[TenantId]) -> None:
    tenant = tenants[0]
    handled, failing, changed = await desk.dead(tenant, 3)
    bug.only = frozenset({failing.id})
    plan = await desk.plan(tenant=tenant)
    await desk.die([changed])
    await desk.start(plan, stop_above_percent=100, reason="it is mended, mostly")
    assert (await desk.ends(plan))["left_out_now"] == 1
    letters = {
        envelope.id: letter["id"] for envelope in (handled, failing, changed) for letter in [(await desk.letters(tenant))[envelope.id]]
    }
    entries = [one for one in await audit(desk, replay=plan["id"]) if one["letter"]]
    assert {one["letter"] for one in entries} == {str(id) for id in letters.values()}
    assert {(one["verb"], one["reason"]) for one in entries} == {("replay", "it is mended, mostly")}
    by_letter = {one["letter"]: one for one in entries}
    settled, failed, left_out = (by_letter[str(letters[one.id])] for one in (handled, failing, changed))
    assert (settled["outcome"], settled["detail"]) == ("SETTLED", "inventory has handled it")
    assert (left_out["outcome"], left_out["detail"]) == ("LEFT_OUT", "not sent: it has died again since the plan: plan anew")
    deaths = await desk.stage.rows("SELECT id FROM ops.death WHERE replay_id = $1", UUID(plan["id"]))
    assert (failed["outcome"], failed["detail"]) == (
        "FAILED",
        f"failed (death {deaths[0]['id']}): it died again: Broken: no shelf for test",
    )
    assert [one["outcome"] for one in await audit(desk, letter=letters[failing.id])] == ["FAILED"]


async def test_what_was_cancelled_is_told_of_each_letter_once_and_outlives_its_replay(desk: ReplayDesk, tenants: list[TenantId]) -> None:
    ids = await lay(desk.stage, tenants[0], 3)
    await desk.stage.administrator.execute("UPDATE ops.replay SET state = 'PAUSED' WHERE state = 'RUNNING'")
    plan = await desk.plan(tenant=tenants[0])
    await desk.start(plan, rate=1)
    await desk.verb("pause", plan)
    cancelled = await desk.verb("cancel", plan)
    assert cancelled["cancelled"] >= 2
    await desk.stage.administrator.execute("DELETE FROM ops.replay_item WHERE replay_id = $1", UUID(plan["id"]))
    entries = [one for one in await audit(desk, replay=plan["id"]) if one["outcome"] == "CANCELLED"]
    assert len({one["letter"] for one in entries} & {str(id) for id in ids}) == len(entries) == cancelled["cancelled"]
    assert {one["detail"] for one in entries} == {f"not sent: {cancelled['detail']}"}


async def test_a_plan_that_was_never_started_has_happened_to_nobodys_letters(desk: ReplayDesk, tenants: list[TenantId]) -> None:
    await lay(desk.stage, tenants[0])
    plan = await desk.plan(tenant=tenants[0])
    await desk.verb("cancel", plan)
    assert [one["verb"] for one in await audit(desk, replay=plan["id"])] == ["cancel replay", "plan replay"]
    assert not await audit(desk, tenants[0], replay=plan["id"])


async def test_a_tenant_is_told_that_the_platform_replays_its_letters_and_nothing_of_anybody_elses(
    desk: ReplayDesk, bug: Bug, tenants: list[TenantId]
) -> None:
    bug.is_mended = True
    cause = uuid4().hex[:16]
    own, other = tenants
    counts = {own: 3, other: 4}
    ids = {tenant: await lay(desk.stage, tenant, count, fingerprint=cause) for tenant, count in counts.items()}
    plan = await desk.plan(fingerprint=cause)
    for path in ("", "/outcomes"):
        assert (await desk.call("GET", f"/replays/{plan['id']}{path}", tenant=own)).status_code == 404, "a plan is nobody's business"
    await desk.start(plan)
    assert (await desk.ends(plan))["settled"] == 7
    for tenant, stranger in ((own, other), (other, own)):
        entries = await audit(desk, tenant, replay=plan["id"])
        assert [one["verb"] for one in entries] == ["replay"] * counts[tenant] + ["start replay"]
        assert {one["letter"] for one in entries[:-1]} == {str(id) for id in ids[tenant]}
        shown = await desk.done("GET", f"/replays/{plan['id']}", tenant=tenant)
        assert (shown["total"], shown["settled"], shown["tenant"], shown["actor"]) == (counts[tenant], counts[tenant], None, plan["actor"])
        outcomes = await desk.done("GET", f"/replays/{plan['id']}/outcomes", tenant=tenant, limit=2)
        rest = await desk.done("GET", f"/replays/{plan['id']}/outcomes", tenant=tenant, cursor=outcomes["next"])
        told = [outcomes["outcomes"], rest["outcomes"]]
        assert {one["letter_id"] for page in told for one in page} == {str(id) for id in ids[tenant]}
        listed = (await desk.done("GET", "/replays", tenant=tenant))["replays"]
        assert [one["id"] for one in listed] == [plan["id"]]
        everything = json.dumps([entries, shown, listed, told])
        assert str(stranger) not in everything
        assert not [id for id in ids[stranger] if str(id) in everything]
        for verb, body in (("pause", {"reason": "x"}), ("cancel", {"reason": "x"}), ("start", {})):
            assert (await desk.call("POST", f"/replays/{plan['id']}/{verb}", body, tenant)).status_code == 403


async def test_whoever_looks_at_all_tenants_is_told_once(desk: ReplayDesk, tenants: list[TenantId]) -> None:
    cause = uuid4().hex[:16]
    for tenant in tenants:
        await lay(desk.stage, tenant, 1, fingerprint=cause)
    plan = await desk.plan(fingerprint=cause)
    await desk.start(plan)
    await desk.verb("pause", plan)
    seen = [(one["verb"], one["tenant"]) for one in await audit(desk, replay=plan["id"]) if not one["letter"]]
    assert seen == [(verb, str(NOBODY)) for verb in ("pause replay", "start replay", "plan replay")]
    asked = {"replay": plan["id"], "tenant": str(tenants[0])}
    answer = await desk.api.client.get("/v1/ops/dead-letters/audit", params=asked, headers=desk.api.token("ops"))
    of_one = [one["verb"] for one in answer.json()["entries"] if not one["letter"]]
    assert of_one == ["pause replay", "start replay"]
    await desk.verb("cancel", plan)
