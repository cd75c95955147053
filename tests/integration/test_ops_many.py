"""A verb on many sagas: counted first, then done saga by saga, leaving out what moved meanwhile; one failure harms no other."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from sagas import many
from sagas.engine.instance import Phase, State
from tests.integration.desk import FAULT, Desk


async def dry(desk: Desk, verb: str, **filters: Any) -> dict[str, Any]:
    answer = await desk.post(f"/sagas/{verb}", {"filter": {"tenant": str(desk.tenant_id), **filters}, "reason": "many"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def wet(desk: Desk, verb: str, as_of: str, after: str | None = None, **filters: Any) -> dict[str, Any]:
    body = {"filter": {"tenant": str(desk.tenant_id), **filters}, "reason": "many", "dry_run": False, "as_of": as_of, "after": after}
    answer = await desk.post(f"/sagas/{verb}", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def states(desk: Desk, *ids: UUID) -> list[str]:
    return [(await desk.show(id))["state"] for id in ids]


async def test_a_dry_run_counts_what_is_open_and_touches_nothing(desk: Desk) -> None:
    parked, running = await desk.bring_to(State.PARKED), await desk.bring_to(State.RUNNING)
    await desk.bring_to(State.COMPLETED)
    counted = await dry(desk, "retry")
    assert (counted["dry_run"], counted["total"]) == (True, 2)
    assert counted["by_state"] == {"PARKED": 1, "RUNNING": 1}
    assert counted["by_step"] == {"reserve-stock": 2, "reserve-quota": 1}
    assert counted["by_tenant"] == {str(desk.tenant_id): 2}
    assert counted["by_saga"] == {"place-order": 2}
    assert set(counted["sample"]) == {str(parked), str(running)}
    assert await states(desk, parked, running) == ["PARKED", "RUNNING"]
    assert await desk.audit(parked) == []


async def test_all_that_one_fault_stopped_are_asked_again_and_nothing_else(desk: Desk) -> None:
    parked = [await desk.bring_to(State.PARKED) for _ in range(3)]
    other = desk.of_another_tenant()
    theirs = await other.bring_to(State.PARKED)
    as_of = (await dry(desk, "retry", fingerprint=FAULT.fingerprint))["as_of"]
    acted = await wet(desk, "retry", as_of, fingerprint=FAULT.fingerprint)
    assert (acted["done"], acted["refused"], acted["moved"], acted["more"]) == (3, 0, 0, False)
    assert await states(desk, *parked) == ["RUNNING"] * 3
    assert await states(other, theirs) == ["PARKED"]


async def test_what_moved_since_the_dry_run_is_left_out(desk: Desk) -> None:
    still, moves = await desk.bring_to(State.RUNNING), await desk.bring_to(State.RUNNING)
    as_of = (await dry(desk, "cancel"))["as_of"]
    await desk.act("retry", moves)
    arrived = await desk.place()
    acted = await wet(desk, "cancel", as_of)
    assert (acted["done"], acted["moved"]) == (1, 2)
    assert {(one["id"], one["outcome"]) for one in acted["not_done"]} == {(str(moves), "MOVED"), (str(arrived), "MOVED")}
    assert await states(desk, still, moves, arrived) == ["COMPENSATING", "RUNNING", "RUNNING"]


async def test_a_refused_saga_is_named_with_its_reason_and_recorded(desk: Desk) -> None:
    able, unable = await desk.bring_to(State.RUNNING), await desk.bring_to(State.COMPLETING)
    acted = await wet(desk, "cancel", (await dry(desk, "cancel"))["as_of"])
    assert (acted["done"], acted["refused"]) == (1, 1)
    [refused] = acted["not_done"]
    assert refused["id"] == str(unable)
    assert "past the point of no return" in refused["why"]
    assert [(await desk.audit(id))[-1]["outcome"] for id in (able, unable)] == ["DONE", "REFUSED"]


async def test_one_saga_that_cannot_be_read_harms_no_other(desk: Desk) -> None:
    first, damaged, last = [await desk.bring_to(State.RUNNING) for _ in range(3)]
    await desk.administrator.execute("UPDATE sagas.saga SET instance = '{}' WHERE id = $1", damaged)
    acted = await wet(desk, "pause", (await dry(desk, "pause"))["as_of"])
    assert (acted["done"], acted["refused"]) == (2, 1)
    assert await states(desk, first, last) == ["PAUSED", "PAUSED"]
    assert [one["outcome"] for one in await desk.audit(damaged)] == ["FAILED"]
    assert acted["not_done"][0]["outcome"] == "FAILED"


async def test_more_than_one_call_may_act_on_goes_on_where_it_stopped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "ACT_MAX", 2)
    ids = [await desk.bring_to(state) for state in (State.RUNNING, State.COMPLETING, State.RUNNING, State.COMPLETING, State.RUNNING)]
    as_of = (await dry(desk, "cancel"))["as_of"]
    calls = [await wet(desk, "cancel", as_of)]
    while calls[-1]["more"]:
        calls.append(await wet(desk, "cancel", as_of, after=calls[-1]["next"]))
    assert len(calls) == 3
    assert [sum(call[what] for call in calls) for what in ("done", "refused", "moved")] == [3, 2, 0]
    assert sorted(await states(desk, *ids)) == ["COMPENSATING"] * 3 + ["COMPLETING"] * 2


async def test_several_tenants_are_acted_on_one_after_the_other(desk: Desk) -> None:
    fingerprint = uuid4().hex
    fault = FAULT.model_copy(update={"fingerprint": fingerprint})
    desks = [desk, desk.of_another_tenant(), desk.of_another_tenant()]
    ids = [await one.bring_to(State.RUNNING) for one in desks]
    for one, id in zip(desks, ids, strict=True):
        await one.answer(id, ("reserve-stock", Phase.ASK, fault))
    asked = {"filter": {"fingerprint": fingerprint}, "reason": "mended"}
    as_of = (await desk.post("/sagas/retry", asked)).json()["as_of"]
    acted = (await desk.post("/sagas/retry", {**asked, "dry_run": False, "as_of": as_of})).json()
    assert acted["done"] == 3
    assert [(await one.audit(id))[0]["tenant_id"] for one, id in zip(desks, ids, strict=True)] == [one.tenant_id for one in desks]


async def test_many_are_skipped_with_one_answer(desk: Desk) -> None:
    ids = [await desk.bring_to(State.COMPENSATING) for _ in range(2)]
    asked = {
        "filter": {"tenant": str(desk.tenant_id), "step": "undo of reserve-quota"},
        "reason": "by hand",
        "step": "undo of reserve-quota",
    }
    as_of = (await desk.post("/sagas/skip", asked)).json()["as_of"]
    acted = await desk.post("/sagas/skip", {**asked, "dry_run": False, "as_of": as_of})
    assert acted.json()["done"] == 2
    assert await states(desk, *ids) == ["ABANDONING"] * 2


async def test_many_are_not_skipped_by_a_step_that_no_definition_has(desk: Desk) -> None:
    asked = {"filter": {"tenant": str(desk.tenant_id)}, "reason": "by hand", "step": "reserve-stok"}
    for wrong, field in ((asked, "step"), ({**asked, "step": None, "filter": {"step": "capture"}}, "filter.step")):
        refused = await desk.post("/sagas/skip", wrong)
        assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, [field])
        assert "reserve-stock" in refused.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"filter": {}, "reason": "x"}, "filter"),
        ({"filter": {"stuck": False}, "reason": "x"}, "filter"),
        ({"filter": {"state": "COMPLETED"}, "reason": "x"}, "filter.state"),
        ({"filter": {"stuck": True}, "reason": "x", "dry_run": False}, "as_of"),
        ({"filter": {"stuck": True}, "reason": "x", "dry_run": False, "as_of": "2999-01-01T00:00:00Z"}, "as_of"),
        ({"filter": {"stuck": True}, "reason": "x", "dry_run": False, "as_of": "2026-01-01T00:00:00"}, "as_of"),
        ({"filter": {"older": "1m"}, "reason": "x"}, "filter.older"),
        ({"filter": {"stuck": True}}, "reason"),
        ({"filter": {"saga": "place"}, "reason": "x"}, "filter.saga"),
    ],
)
async def test_a_verb_on_everything_or_without_a_dry_run_is_refused(desk: Desk, body: dict[str, object], field: str) -> None:
    refused = await desk.post("/sagas/cancel", body)
    assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, [field])
