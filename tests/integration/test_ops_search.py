"""Operators find sagas of all tenants: by every filter, what waits for people first, page by page."""

from typing import Any

import pytest

from sagas.engine.instance import State
from tests.integration.desk import FAULT, Desk


async def test_what_waits_for_people_comes_first_then_what_is_stuck_then_the_newest(desk: Desk) -> None:
    stuck = await desk.place_before(minutes=20)
    older = await desk.place_before(minutes=5)
    parked = await desk.bring_to(State.PARKED)
    done = await desk.bring_to(State.COMPLETED)
    attention = await desk.bring_to(State.NEEDS_ATTENTION)
    newest = await desk.bring_to(State.RUNNING)
    expected = [attention, parked, stuck, newest, done, older]
    assert await desk.found() == [str(id) for id in expected]


@pytest.mark.parametrize("state", list(State))
async def test_sagas_are_found_by_their_state(desk: Desk, state: State) -> None:
    ids = {one: await desk.bring_to(one) for one in State}
    assert await desk.found(state=state) == [str(ids[state])]


async def test_sagas_are_found_by_each_filter_alone_and_together(desk: Desk) -> None:
    running, parked = await desk.bring_to(State.RUNNING), await desk.bring_to(State.PARKED)
    undoing, old, ended = await desk.bring_to(State.COMPENSATING), await desk.place_before(minutes=20), await desk.bring_to(State.ABANDONED)
    order = (await desk.show(ended))["order"]
    for filters, expected in (
        ({"step": "reserve-quota"}, {running, old}),
        ({"step": "reserve-stock"}, {running, old, parked}),
        ({"step": "undo of reserve-quota"}, {undoing}),
        ({"step": "undo of charge-order"}, set()),
        ({"fingerprint": FAULT.fingerprint}, {parked}),
        ({"fingerprint": "another"}, set()),
        ({"stuck": True}, {old}),
        ({"older_than": "15m"}, {old}),
        ({"older_than": "15m", "step": "reserve-stock"}, {old}),
        ({"older_than": "15m", "state": "COMPLETED"}, set()),
        ({"order": order}, {ended}),
        ({"order": order, "state": "RUNNING"}, set()),
        ({"saga": "place-order"}, {running, parked, undoing, old, ended}),
        ({"saga": "cancel-order"}, set()),
        ({"state": "ABANDONED", "saga": "place-order"}, {ended}),
        ({"step": "reserve-stock", "state": "ABANDONED"}, set()),
    ):
        assert set(await desk.found(**filters)) == {str(id) for id in expected}, filters


async def test_an_order_is_found_whoever_its_tenant_is(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    shown = await desk.show(id)
    [item] = (await desk.get("/sagas", order=shown["order"])).json()["items"]
    assert (item["id"], item["tenant_id"]) == (str(id), str(desk.tenant_id))
    assert "started_by" not in item
    assert "instance" not in item


async def test_pages_neither_repeat_nor_leave_out_what_was_there_while_new_sagas_arrive(desk: Desk) -> None:
    ways = (State.RUNNING, State.PARKED, State.COMPLETED, State.RUNNING, State.COMPLETED, State.NEEDS_ATTENTION, State.ABANDONED)
    there = {str(await desk.bring_to(state)) for state in ways}
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await desk.get("/sagas", tenant=str(desk.tenant_id), limit=2, **cursor)).json()
        seen += [item["id"] for item in page["items"]]
        await desk.bring_to(State.COMPLETED)
        await desk.place()
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


async def test_sagas_that_started_in_the_same_instant_are_all_listed(desk: Desk) -> None:
    ids = {str(await desk.place()) for _ in range(5)}
    await desk.administrator.execute("UPDATE sagas.saga SET started_at = '2026-01-01Z' WHERE tenant_id = $1", desk.tenant_id)
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await desk.get("/sagas", tenant=str(desk.tenant_id), limit=2, **cursor)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert sorted(seen) == sorted(ids)


async def test_what_another_tenant_has_is_not_in_a_tenants_list(desk: Desk) -> None:
    other = desk.of_another_tenant()
    mine, theirs = await desk.bring_to(State.PARKED), await other.bring_to(State.COMPLETED)
    assert (await desk.found(), await other.found()) == ([str(mine)], [str(theirs)])


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "LOST"}, "state"),
        ({"tenant": "x"}, "tenant"),
        ({"older_than": "soon"}, "older_than"),
        ({"older_than": "0m"}, "older_than"),
        ({"older_than": "100000d"}, "older_than"),
        ({"saga": "place-ordre"}, "saga"),
        ({"step": "reserve"}, "step"),
        ({"limit": "201"}, "limit"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_filter_is_named(desk: Desk, params: dict[str, str], field: str) -> None:
    refused = await desk.get("/sagas", **params)
    assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, [field])


async def test_a_name_that_no_definition_has_is_answered_with_those_there_are(desk: Desk) -> None:
    for filters, known in (({"saga": "x"}, "place-order, cancel-order"), ({"step": "x"}, "undo of reserve-stock")):
        [error] = (await desk.get("/sagas", **filters)).json()["errors"]
        assert known in error["message"]


@pytest.mark.parametrize("cursor", ["x", "", "AAAA", "_" * 44, "A" * 43 + "="])
async def test_a_cursor_that_was_not_given_out_is_refused(desk: Desk, cursor: str) -> None:
    assert (await desk.get("/sagas", cursor=cursor)).status_code == 400


async def test_the_whole_saga_is_shown_with_its_history_and_its_verbs(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    shown = await desk.show(id)
    assert [event["kind"] for event in shown["events"]][:3] == ["STARTED", "ASKED", "ASKED"]
    assert all(event["message_id"] for event in shown["events"][:3])
    [missing] = shown["outstanding"]
    assert (missing["step"], missing["status"], missing["until"]) == ("reserve-stock", "FAULTED", None)
    assert {verb["verb"] for verb in shown["verbs"] if verb["legal"]} == {"retry", "skip", "cancel", "pause"}
    assert shown["wakes_at"] > shown["progressed_at"]
