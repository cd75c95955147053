"""The table verb x state over HTTP: every cell is done, or 409 with why; and what is guarded and recorded whatever comes of it."""

from typing import Final
from uuid import UUID, uuid4

import pytest

from contracts.values import TenantId
from infra.schema import ROLES
from sagas.engine.instance import State
from sagas.engine.verbs import Verb
from tests.integration.desk import Desk, skipped
from tests.integration.refusals import NO_RIGHT

# state: what retry, skip, cancel, pause and resume do; a text is why not.
AUDIT: Final = "sagas.operator_audit"
_ENDED: Final = "it has ended"
_BACK: Final = "it is turning back already"
_GOES: Final = "it is not paused"
TABLE: Final[dict[State, tuple[str | State, ...]]] = {
    State.RUNNING: (State.RUNNING, State.RUNNING, State.COMPENSATING, State.PAUSED, _GOES),
    State.COMPENSATING: (State.COMPENSATING, State.ABANDONING, _BACK, State.PAUSED, _GOES),
    State.ABANDONING: (State.ABANDONING, State.ABANDONED, _BACK, State.PAUSED, _GOES),
    State.COMPLETING: (State.COMPLETING, State.COMPLETED, "it is past the point of no return", State.PAUSED, _GOES),
    State.PARKED: (State.RUNNING, State.RUNNING, State.COMPENSATING, State.PAUSED, _GOES),
    State.NEEDS_ATTENTION: (State.COMPENSATING, State.ABANDONING, _BACK, State.PAUSED, _GOES),
    State.PAUSED: ("it is paused: resume it first", State.PAUSED, State.COMPENSATING, "it is paused already", State.RUNNING),
    State.COMPLETED: (_ENDED,) * 5,
    State.ABANDONED: (_ENDED,) * 5,
}
CELLS: Final = [(state, verb, TABLE[state][column]) for state in State for column, verb in enumerate(Verb)]


@pytest.mark.parametrize(("state", "verb", "expected"), CELLS, ids=lambda value: str(value)[:20])
async def test_every_verb_in_every_state_is_done_or_says_why_not(desk: Desk, state: State, verb: Verb, expected: str | State) -> None:
    id = await desk.bring_to(state)
    before = await desk.show(id)
    more = {}
    if verb is Verb.SKIP and before["outstanding"]:
        step = before["outstanding"][-1]["step"]
        more = {"step": step, "answer": skipped(step)}
    answer = await desk.act(verb, id, "because of a test", **more)
    after = await desk.show(id)
    told = next(one for one in before["verbs"] if one["verb"] == verb)
    if isinstance(expected, State):
        assert (answer.status_code, answer.json()["state"], told["legal"]) == (200, expected, True), answer.text
        assert after["revision"] == before["revision"] + 1
        assert [(event["actor"], event["reason"]) for event in after["events"] if event["reason"]][-1] == ("developer", "because of a test")
    else:
        assert (answer.status_code, told["legal"]) == (409, False), answer.text
        assert expected in answer.json()["detail"]
        assert expected in told["why_not"]
        assert after["revision"] == before["revision"]
    recorded = (await desk.audit(id))[-1]
    assert (recorded["verb"], recorded["outcome"]) == (verb, "DONE" if isinstance(expected, State) else "REFUSED")


async def test_a_refusal_says_what_is_legal_instead(desk: Desk) -> None:
    id = await desk.bring_to(State.COMPLETING)
    assert "legal now: retry, skip, pause" in (await desk.act("cancel", id)).json()["detail"]


async def test_a_saga_that_moved_meanwhile_is_left_alone(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    seen = (await desk.show(id))["revision"]
    assert (await desk.act("pause", id)).status_code == 200
    late = await desk.act("cancel", id, revision=seen)
    assert late.status_code == 409
    assert f"it is at revision {seen + 1} now, not {seen}" in late.json()["detail"]
    assert (await desk.show(id))["state"] == "PAUSED"
    assert [one["outcome"] for one in await desk.audit(id)] == ["DONE", "MOVED"]


async def test_what_a_verb_asks_for_is_sent(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    await desk.act("cancel", id)
    assert {"inventory.ReleaseStock.v1", "tenants.ReleaseQuota.v1"} <= set(await desk.commands(id))


async def test_who_did_what_and_why_is_in_the_history_and_in_the_audit(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    shown = (await desk.act("retry", id, "  the shelf is mended  ")).json()
    [fact] = [event for event in shown["events"] if event["kind"] == "RETRIED"]
    assert (fact["actor"], fact["reason"]) == ("developer", "the shelf is mended")
    assert "By developer: the shelf is mended" in fact["words"]
    [attempt] = shown["attempts"]
    assert {name: attempt[name] for name in ("actor", "verb", "outcome", "reason", "detail")} == {
        "actor": "developer",
        "verb": "retry",
        "outcome": "DONE",
        "reason": "the shelf is mended",
        "detail": "PARKED -> RUNNING",
    }


async def test_a_paused_saga_that_is_cancelled_is_told_to_be_paused_no_longer(desk: Desk) -> None:
    for state, words in ((State.PAUSED, "Cancelled; the pause ended with it."), (State.RUNNING, "Cancelled.")):
        shown = (await desk.act("cancel", await desk.bring_to(state), "enough")).json()
        [fact] = [event for event in shown["events"] if event["kind"] == "CANCELLED"]
        assert fact["words"] == f"{words} By developer: enough"


async def test_what_was_tried_can_neither_be_changed_nor_deleted(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    await desk.act("pause", id)
    for statement in ("UPDATE sagas.operator_audit SET actor = 'somebody else'", "DELETE FROM sagas.operator_audit"):
        with pytest.raises(NO_RIGHT):
            async with desk.api.transaction(desk.tenant_id) as scope:
                await scope.connection.execute(statement)
    assert [one["actor"] for one in await desk.audit(id)] == ["developer"]


@pytest.mark.parametrize("role", [*(f"sagas_{role}" for role in (*ROLES, "owner")), "administrator"])
@pytest.mark.parametrize("statement", [f"UPDATE {AUDIT} SET actor = 'x'", f"DELETE FROM {AUDIT}", f"TRUNCATE {AUDIT}"])
async def test_nobody_changes_what_was_tried_not_even_its_owner_or_an_administrator(desk: Desk, statement: str, role: str) -> None:
    reason = "what operators tried is for good" if role in ("sagas_owner", "sagas_migrator", "administrator") else "permission denied"
    undo = desk.administrator.transaction()
    await undo.start()
    try:
        if role != "administrator":
            await desk.administrator.execute(f"SET LOCAL ROLE {role}")
        await desk.administrator.execute(f"SET LOCAL oaas.tenant_id = '{desk.tenant_id}'")
        with pytest.raises(NO_RIGHT, match=reason):
            await desk.administrator.execute(statement)
    finally:
        await undo.rollback()


async def test_an_attempt_is_recorded_in_the_tenant_of_its_saga_only(desk: Desk) -> None:
    other = TenantId(uuid4())
    await desk.act("pause", await desk.bring_to(State.RUNNING))
    async with desk.api.transaction(other) as scope:
        assert await scope.connection.fetchval("SELECT count(*) FROM sagas.operator_audit") == 0
    async with desk.api.transaction(desk.tenant_id) as scope:
        assert await scope.connection.fetchval("SELECT count(*) FROM sagas.operator_audit") == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"revision": 1}, "reason"),
        ({"reason": "   ", "revision": 1}, "reason"),
        ({"reason": "x" * 501, "revision": 1}, "reason"),
        ({"reason": "x"}, "revision"),
        ({"reason": "x", "revision": "1"}, "revision"),
        ({"reason": "x", "revision": 1, "force": True}, "force"),
        ({"reason": "x", "revision": 1, "step": "reserve-stock"}, "step"),
    ],
)
async def test_a_wrong_field_is_named(desk: Desk, body: dict[str, object], field: str) -> None:
    refused = await desk.post(f"/sagas/{uuid4()}/retry", body)
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == [field]


async def test_an_answer_that_is_none_of_that_step_is_named_field_by_field(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    refused = await desk.act("skip", id, answer={"reservation_id": "none"})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["answer.reservation_id"]
    assert "StockReserved" in refused.json()["detail"]
    assert [one["outcome"] for one in await desk.audit(id)] == ["REFUSED"]


async def test_with_several_answers_missing_the_step_has_to_be_named(desk: Desk) -> None:
    refused = await desk.act("skip", await desk.bring_to(State.RUNNING), answer={})
    assert (refused.status_code, "name the step: reserve-quota, reserve-stock" in refused.json()["detail"]) == (409, True)


async def test_an_unknown_saga_is_404(desk: Desk) -> None:
    unknown = uuid4()
    for answer in (await desk.get(f"/sagas/{unknown}"), await desk.post(f"/sagas/{unknown}/retry", {"reason": "x", "revision": 1})):
        assert (answer.status_code, answer.json()["title"]) == (404, "Unknown saga")


@pytest.mark.parametrize("path", ["/sagas", f"/sagas/{UUID(int=1)}", "/why/x"])
async def test_a_tenants_client_is_no_operator(desk: Desk, path: str) -> None:
    client = desk.api.token("orders:read", "orders:write", tenant_id=desk.tenant_id)
    assert (await desk.api.call("GET", f"/v1/ops{path}", client)).status_code == 403
    assert (await desk.api.call("GET", f"/v1/ops{path}", {})).status_code == 401


async def test_a_saga_that_this_release_cannot_read_is_shown_and_not_touched(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    await desk.administrator.execute("UPDATE sagas.saga SET version = 99 WHERE id = $1", id)
    shown = await desk.show(id)
    assert "version 99" in shown["unreadable"]
    assert not any(verb["legal"] for verb in shown["verbs"])
    refused = await desk.act("pause", id)
    assert (refused.status_code, refused.json()["title"]) == (409, "Not readable")
    assert [one["outcome"] for one in await desk.audit(id)] == ["FAILED"]
