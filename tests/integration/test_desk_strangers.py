"""Whoever can publish to the desk, or call it, writes what they like: no letter is lost for it, no answer fails or tells a secret."""

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from contracts.desk import LetterSettled
from contracts.headers import REPLAY
from contracts.values import TenantId
from infra.batch import Batches
from infra.clock import now
from services.ops.replay.outcomes import OUTCOMES
from services.ops.taking_in.intake import take_in
from services.ops.taking_in.opening import Arrived, open_letters
from tests.integration.letters import QUEUE, Dying, LetterDesk, a_letter, dying
from tests.integration.messaging import envelope, reserve

NDJSON: Final = "application/x-ndjson"
SECRET: Final = "tok_of_a_stranger"


async def keep(letters_desk: LetterDesk, died: Dying, queue: str = QUEUE) -> tuple[TenantId, UUID]:
    """As if it had been taken in: whose letter it is in the table, and which."""
    [one] = open_letters(Arrived(queue, died.body, died.headers, died.message_id), now())
    async with letters_desk.api.transaction(one.letter.tenant_id) as scope:
        [death] = await take_in(scope, [one])
    return one.letter.tenant_id, death.letter_id


def no_envelope(tenant: TenantId, body: bytes = b"[17]", more: Mapping[str, Any] | None = None) -> Dying:
    """A death of something without an id of its own."""
    return Dying(body, {**a_letter(tenant, more=more).headers, "x-tenant": str(tenant)}, str(uuid4()))


async def post(letters_desk: LetterDesk, path: str, body: Any) -> Any:
    return await letters_desk.api.call("POST", f"/v1/ops/dead-letters{path}", letters_desk.operator(), body)


async def test_a_header_that_names_another_tenants_letter_takes_nothing_from_that_tenant(letters_desk: LetterDesk) -> None:
    own, stranger = TenantId(uuid4()), TenantId(uuid4())
    _, letter = await keep(letters_desk, a_letter(own))
    _, forged = await keep(letters_desk, no_envelope(stranger, more={REPLAY: f"{uuid4()}/{letter}"}))
    assert forged != letter
    assert (await letters_desk.get(f"/{letter}", own)).status_code == 200
    assert (await letters_desk.get(f"/{letter}", stranger)).status_code == 404
    shown = (await letters_desk.get(f"/{forged}", stranger)).json()
    assert (shown["deaths"], shown["replay_id"]) == (1, None)


async def test_a_header_is_believed_of_a_letter_of_the_same_tenant_and_queue_only(letters_desk: LetterDesk) -> None:
    tenant, replay = TenantId(uuid4()), uuid4()
    _, first = await keep(letters_desk, no_envelope(tenant))
    header = {REPLAY: f"{replay}/{first}"}
    assert (await keep(letters_desk, no_envelope(tenant, b"[18]", header), "payments.commands.0"))[1] != first
    _, again = await keep(letters_desk, no_envelope(tenant, b"[19]", header))
    assert again == first
    shown = (await letters_desk.get(f"/{first}")).json()
    assert [death["replay_id"] for death in shown["deaths_history"]] == [str(replay), None]


async def test_an_operator_of_a_tenant_finds_that_tenants_letter_whoever_else_has_one_of_its_id(letters_desk: LetterDesk) -> None:
    own, other = TenantId(uuid4()), TenantId(uuid4())
    _, letter = await keep(letters_desk, a_letter(own))
    _, twin = await keep(letters_desk, a_letter(other))
    async with letters_desk.api.transaction(other) as scope:
        await scope.connection.execute("DELETE FROM ops.death WHERE tenant_id = $1 AND letter_id = $2", other, twin)
        await scope.connection.execute("UPDATE ops.letter SET id = $3 WHERE tenant_id = $1 AND id = $2", other, twin, letter)
    for tenant in (own, other):
        answer = await letters_desk.get(f"/{letter}", tenant)
        assert (answer.status_code, answer.json()["tenant"]) == (200, str(tenant))


async def test_an_outcome_counts_only_for_a_letter_that_this_replay_has_sent(letters_desk: LetterDesk) -> None:
    tenant = TenantId(uuid4())
    _, letter = await keep(letters_desk, a_letter(tenant))
    plan = (await post(letters_desk, "/replays", {"letters": [str(letter)], "reason": "a test"})).json()
    hears = Batches(letters_desk.api.transaction, [OUTCOMES])

    async def told(replay: UUID) -> str:
        await hears.commit([envelope(tenant, LetterSettled(letter_id=letter, replay_id=replay, was_known=False))])
        state: str = (await letters_desk.get(f"/{letter}")).json()["state"]
        return state

    assert await told(uuid4()) == "DEAD"
    assert await told(UUID(plan["id"])) == "DEAD"
    async with letters_desk.api.transaction(tenant) as scope:
        # It was sent, and nobody told for so long that it was given up: the late outcome is the truth.
        await scope.connection.execute(
            "UPDATE ops.replay_item SET state = 'FAILED', sends = 3, sent_at = now(), ended_at = now() WHERE tenant_id = $1", tenant
        )
    before = settled_so_far()
    assert await told(uuid4()) == "DEAD"
    assert settled_so_far() == before
    assert await told(UUID(plan["id"])) == "SETTLED"
    assert settled_so_far() == before + 1


def settled_so_far() -> float:
    return REGISTRY.get_sample_value("oaas_replays_settled_total") or 0.0


async def test_a_body_of_any_depth_does_not_end_an_export(letters_desk: LetterDesk) -> None:
    tenant = TenantId(uuid4())
    _, deep = await keep(letters_desk, no_envelope(tenant, b"[" * 100_000 + b"]" * 100_000))
    _, good = await keep(letters_desk, a_letter(tenant))
    answer = await letters_desk.get("/export", tenant)
    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [str(good)]
    assert (await letters_desk.get(f"/{deep}")).status_code == 200


async def test_what_a_line_says_is_told_again_only_as_far_as_an_answer_can_hold_it(letters_desk: LetterDesk) -> None:
    lines = '{"id":"\\ud800"}\n' + json.dumps({"id": "x" * 5_000}) + "\n" + "[" * 100_000
    headers = {**letters_desk.operator(), "Content-Type": NDJSON}
    path = "/v1/ops/dead-letters/import"
    answer = await letters_desk.api.client.post(path, params={"reason": "a test"}, headers=headers, content=lines)
    assert answer.status_code == 200, answer.text
    assert [one["line"] for one in answer.json()["refused"]] == [1, 2, 3]
    assert answer.json()["refused"][1]["id"] == "x" * 100


async def test_no_view_tells_a_secret_that_stands_in_an_error_a_stack_or_a_header(letters_desk: LetterDesk) -> None:
    tenant, said = TenantId(uuid4()), f'bad {{"token": "{SECRET}"}} or {{\\"token\\": \\"{SECRET}\\"}}'
    more: Mapping[str, Any] = {
        "x-exception-message": said,
        "x-exception-stack": said,
        "other": said,
        "table": {"token": SECRET, "list": [said]},
        "x-fingerprint": uuid4().hex[:16],
    }
    _, letter = await keep(letters_desk, dying(reserve(tenant), more=more))
    for path in (f"/{letter}", "/groups", "", "/export"):
        answer = await letters_desk.get(path, tenant)
        assert answer.status_code == 200
        assert SECRET not in answer.text, path
    assert "(hidden)" in (await letters_desk.get("/groups", tenant)).text


@pytest.mark.parametrize(
    "path", ["/dead-letters/replays", f"/dead-letters/replays/{UUID(int=1)}/outcomes", "/dead-letters/export", "/reconcile"]
)
async def test_a_parameter_that_there_is_not_is_refused_by_name(letters_desk: LetterDesk, path: str) -> None:
    answer = await letters_desk.api.client.get(f"/v1/ops{path}", params={"nope": 1}, headers=letters_desk.operator())
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, ["nope"])


async def test_a_parameter_that_an_import_does_not_know_is_refused(letters_desk: LetterDesk) -> None:
    headers = {**letters_desk.operator(), "Content-Type": NDJSON}
    params = {"reason": "a test", "dry-run": "true"}
    answer = await letters_desk.api.client.post("/v1/ops/dead-letters/import", params=params, headers=headers, content="")
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, ["dry-run"])


@pytest.mark.parametrize("field", ["rate", "canary", "stop_above_percent"])
async def test_true_is_no_number(letters_desk: LetterDesk, field: str) -> None:
    answer = await post(letters_desk, f"/replays/{uuid4()}/start", {field: True})
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])


async def test_true_is_no_revision(letters_desk: LetterDesk) -> None:
    body = {"data": {}, "reason": "a test", "revision": True}
    answer = await letters_desk.api.call("PUT", f"/v1/ops/dead-letters/{uuid4()}/payload", letters_desk.operator(), body)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, ["revision"])


@pytest.mark.parametrize(("field", "at"), [("since", "0001-01-01T00:00:00+23:59"), ("until", "9999-12-31T23:59:59-23:59")])
async def test_a_time_before_the_first_or_after_the_last_is_refused_by_name(letters_desk: LetterDesk, field: str, at: str) -> None:
    answer = await letters_desk.get("", **{field: at})
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])
    asked = {"filter": {"queue": "x"}, "reason": "a test", "as_of": at}
    answer = await post(letters_desk, "/archive", asked)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, ["as_of"])
