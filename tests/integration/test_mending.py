"""Letters that are edited: within their contract, only while nobody has answered, one or many at once; and what goes to the archive."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from contracts.messages import Envelope
from contracts.values import TenantId
from tests.integration.messaging import COMMANDS, Stage, a_tenant, parts, reserve, until, working
from tests.integration.replays import Bug, ReplayDesk, inventory_with, replay_desk
from tests.integration.workers import oaas_worker, worker_process

NDJSON: Final = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
async def desk(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplayDesk]:
    """With a worker of the desk and one of inventory that has a bug, for all tests here; each has its own tenant."""
    await open_stage.empty()
    home = tmp_path_factory.mktemp("desk")
    async with (
        worker_process(oaas_worker("ops"), open_stage.settings, home),
        working(inventory_with(Bug(only=frozenset())), open_stage.settings, home),
        replay_desk(open_stage, home, report_within_s=5) as desk,
    ):
        yield desk


@pytest.fixture
async def tenant(open_stage: Stage) -> TenantId:
    async with parts(open_stage.settings) as inventory:
        return await a_tenant(inventory.transaction, APPLE=1_000)


async def broken(desk: ReplayDesk, tenant: TenantId, count: int = 1) -> list[tuple[UUID, Envelope]]:
    """Commands whose quantity is no number: their letters' ids, and what they should have said."""
    meant = [reserve(tenant) for _ in range(count)]
    said = []
    for envelope in meant:
        item = json.loads(envelope.model_dump_json(exclude_none=True))
        item["data"]["lines"][0]["quantity"] = "one"
        said.append(json.dumps(item))
    await desk.stage.publish(COMMANDS, *said)

    async def all_there() -> bool:
        return {one.id for one in meant} <= set(await desk.letters(tenant))

    await until(all_there, lambda: "the letters were not taken in")
    letters = await desk.letters(tenant)
    return [(letters[one.id]["id"], one) for one in meant]


def data_of(envelope: Envelope) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(envelope.model_dump_json())["data"]
    return data


async def edit(desk: ReplayDesk, letter: UUID, data: Any, revision: int = 0, **more: Any) -> httpx.Response:
    return await desk.call("PUT", f"/{letter}/payload", {"data": data, "reason": "typo", "revision": revision, **more})


async def audit(desk: ReplayDesk, letter: UUID) -> list[tuple[str, str]]:
    """Verb and outcome of each attempt, the oldest first."""
    page = await desk.done("GET", "/audit", letter=str(letter))
    return [(one["verb"], one["outcome"]) for one in reversed(page["entries"])]


async def test_a_letter_that_breaks_its_contract_is_mended_replayed_and_settled(desk: ReplayDesk, tenant: TenantId) -> None:
    [(letter, meant)] = await broken(desk, tenant)
    answer = await edit(desk, letter, data_of(meant))
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["diff"] == [{"path": "lines[0].quantity", "before": "one", "after": 1}]
    assert (shown["revision"], shown["message_id"], shown["state"]) == (1, str(meant.id), "DEAD")
    assert shown["original_body"]["data"]["lines"][0]["quantity"] == "one"
    [revision] = shown["revisions"]
    assert (revision["actor"], revision["reason"], revision["diff"]) == ("developer", "typo", shown["diff"])
    plan = await desk.plan(letters=[letter])
    await desk.start(plan)
    await desk.ends(plan)
    assert await desk.states(tenant) == {"SETTLED": 1}
    assert (await desk.held(tenant), await desk.handled(tenant)) == (1, {meant.id: 1})
    # Its answer exists now.
    again = await edit(desk, letter, {**data_of(meant), "lines": [{"sku": "APPLE", "quantity": 2}]}, revision=1)
    assert (again.status_code, "SETTLED" in again.json()["detail"]) == (409, True)
    assert [one for one in await audit(desk, letter) if one[0] == "edit"] == [("edit", "DONE"), ("edit", "REFUSED")]


async def test_each_wrong_field_is_named_and_nothing_is_changed(desk: ReplayDesk, tenant: TenantId) -> None:
    [(letter, meant)] = await broken(desk, tenant)
    wrong = {**data_of(meant), "lines": [{"sku": "", "quantity": 0}], "order_id": str(uuid4()), "colour": "red"}
    answer = await edit(desk, letter, wrong)
    assert answer.status_code == 422
    told = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert set(told) == {"data.lines[0].sku", "data.lines[0].quantity", "data.colour", "data.order_id"}
    assert told["data.order_id"].startswith(f"must stay {data_of(meant)['order_id']}")
    assert told["data.lines[0].quantity"] == "must be at least 1"
    assert (await desk.letters(tenant))[meant.id]["revision"] == 0
    assert await audit(desk, letter) == [("edit", "REFUSED")]


async def test_a_preview_changes_nothing(desk: ReplayDesk, tenant: TenantId) -> None:
    [(letter, meant)] = await broken(desk, tenant)
    answer = await edit(desk, letter, data_of(meant), dry_run=True)
    assert (answer.status_code, len(answer.json()["diff"]), answer.json()["revision"]) == (200, 1, 0)
    assert await audit(desk, letter) == []


async def test_of_two_who_edit_the_same_revision_the_second_is_told(desk: ReplayDesk, tenant: TenantId) -> None:
    [(letter, meant)] = await broken(desk, tenant)
    assert (await edit(desk, letter, data_of(meant))).status_code == 200
    late = await edit(desk, letter, {**data_of(meant), "lines": [{"sku": "APPLE", "quantity": 2}]})
    assert (late.status_code, "at revision 1 now, not 0" in late.json()["detail"]) == (409, True)
    assert await audit(desk, letter) == [("edit", "DONE"), ("edit", "MOVED")]


async def test_a_message_that_its_service_has_handled_stays_what_it_is(desk: ReplayDesk, tenant: TenantId) -> None:
    handled = reserve(tenant)
    await desk.stage.publish(COMMANDS, handled)

    async def is_handled() -> bool:
        return handled.id in await desk.handled(tenant)

    await until(is_handled, lambda: "not handled")
    await desk.die([handled])
    letter = (await desk.letters(tenant))[handled.id]["id"]
    answer = await edit(desk, letter, {**data_of(handled), "lines": [{"sku": "APPLE", "quantity": 2}]})
    assert (answer.status_code, "inventory has handled the message" in answer.json()["detail"]) == (409, True)
    assert (await desk.letters(tenant))[handled.id]["revision"] == 0


async def test_a_message_whose_saga_has_ended_stays_what_it_is(desk: ReplayDesk, tenant: TenantId) -> None:
    [(letter, meant)] = await broken(desk, tenant)
    await desk.stage.administrator.execute(
        "INSERT INTO ops.saga VALUES ($1, $2, 'place-order', 2, 'x', 'ABANDONED', NULL, NULL, NULL, 9, now())", tenant, meant.sagaid
    )
    answer = await edit(desk, letter, data_of(meant))
    assert (answer.status_code, "has ended" in answer.json()["detail"]) == (409, True)


async def test_while_the_service_does_not_say_whether_it_has_handled_it_nothing_is_changed(
    open_stage: Stage, desk: ReplayDesk, tenant: TenantId, tmp_path: Path
) -> None:
    [(letter, meant)] = await broken(desk, tenant)
    # Nobody reads this queue here.
    await desk.stage.administrator.execute("UPDATE ops.letter SET queue = 'tenants.commands.0' WHERE id = $1", letter)
    async with replay_desk(open_stage, tmp_path, report_within_s=0.3) as impatient:
        answer = await edit(impatient, letter, data_of(meant))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "tenants does not say" in answer.json()["detail"]
    assert (await desk.letters(tenant))[meant.id]["revision"] == 0


async def test_another_tenants_operator_finds_no_letter(desk: ReplayDesk, tenant: TenantId) -> None:
    [(letter, meant)] = await broken(desk, tenant)
    stranger = TenantId(uuid4())
    body = {"data": data_of(meant), "reason": "x", "revision": 0}
    assert (await desk.call("PUT", f"/{letter}/payload", body, stranger)).status_code == 404
    assert (await desk.call("POST", f"/{letter}/archive", {"reason": "x"}, stranger)).status_code == 404
    assert (await desk.call("DELETE", f"/{letter}", None, stranger, reason="x")).status_code == 404
    assert (await desk.call("GET", "/export", None, stranger)).content == b""
    line = json.dumps({"id": str(letter), "revision": 0, "data": data_of(meant)})
    assert (await take_in(desk, [line], stranger))["refused"][0]["error"] == f"there is no letter {letter}"
    assert [one["letter"] for one in (await desk.done("GET", "/audit", None, stranger))["entries"]] == [None], (
        "only that it exported nothing"
    )


async def take_in(desk: ReplayDesk, lines: list[str], tenant: TenantId | None = None, **params: Any) -> dict[str, Any]:
    answer = await desk.api.client.post(
        "/v1/ops/dead-letters/import",
        params={"reason": "typo", **params},
        content="\n".join(lines),
        headers={**desk.api.token("ops", tenant_id=tenant), **NDJSON},
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def exported(desk: ReplayDesk, tenant: TenantId) -> list[dict[str, Any]]:
    answer = await desk.api.client.get(f"/v1/ops/dead-letters/export?tenant={tenant}", headers=desk.api.token("ops"))
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_many_are_exported_edited_and_taken_in_again_and_a_second_time_changes_nothing(desk: ReplayDesk, tenant: TenantId) -> None:
    await desk.dead(tenant, 450)
    lines = await exported(desk, tenant)
    assert {UUID(line["id"]) for line in lines} == {letter["id"] for letter in (await desk.letters(tenant)).values()}
    assert {name: lines[0][name] for name in ("revision", "type", "tenant", "queue")} == {
        "revision": 0,
        "type": "inventory.ReserveStock.v1",
        "tenant": str(tenant),
        "queue": "inventory.commands.0",
    }
    edited = [json.dumps({**line, "data": {**line["data"], "lines": [{"sku": "PEAR", "quantity": 2}]}}) for line in lines]
    preview = await take_in(desk, edited, dry_run=True)
    assert (preview["changed"], preview["unchanged"], len(preview["diffs"])) == (450, 0, 20)
    assert {letter["revision"] for letter in (await desk.letters(tenant)).values()} == {0}
    # The first part, and then everything again, as after a connection that was lost.
    assert (await take_in(desk, edited[:200]))["changed"] == 200
    whole = await take_in(desk, edited)
    assert (whole["changed"], whole["unchanged"], whole["refused"]) == (250, 200, [])
    again = await take_in(desk, edited)
    assert (again["changed"], again["unchanged"], again["refused"]) == (0, 450, [])
    assert {letter["revision"] for letter in (await desk.letters(tenant)).values()} == {1}


async def test_each_line_is_refused_by_itself_with_its_number_and_why(desk: ReplayDesk, tenant: TenantId) -> None:
    (one, meant), (other, _) = await broken(desk, tenant, 2)
    right = {"id": str(one), "revision": 0, "data": data_of(meant)}
    lines = [
        "{",
        json.dumps(right),
        "",
        json.dumps({**right, "revision": 7}),
        json.dumps({"id": str(other), "revision": 0, "data": {"order_id": "x"}}),
        json.dumps({"id": str(uuid4()), "revision": 0, "data": {}}),
        json.dumps({"id": str(other), "data": {}}),
        "7",
    ]
    answer = await take_in(desk, lines, line=11)
    assert answer["changed"] == 1
    told = {one["line"]: one["error"] for one in answer["refused"]}
    assert sorted(told) == [11, 14, 15, 16, 17, 18]
    for line, said in {
        11: "is no JSON",
        14: "an earlier line",
        15: "data.shop_id is missing",
        16: "there is no letter",
        17: "revision must",
    }.items():
        assert said in told[line], told
    assert (await desk.letters(tenant))[meant.id]["revision"] == 1
