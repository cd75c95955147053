"""`oaas saga ...` and `oaas why` as people type them, against the API on a port: what is printed, and the exit code."""

import getpass
import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from shutil import copytree
from uuid import uuid4

import pytest
from rich.console import Console

from infra.cli import desk_drawing
from infra.cli import saga as cli_saga
from sagas import many
from sagas.engine.instance import State
from tests.integration.desk import FAULT, Desk
from tests.integration.terminal import flat, oaas, sit_down


@pytest.fixture
def desk(shared_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A tenant for each test, and a terminal in the home whose key the API trusts."""
    sit_down(monkeypatch, shared_desk.api.home, OAAS_API_URL=shared_desk.base_url)
    return shared_desk.of_another_tenant()


async def test_the_list_shows_what_waits_for_people_first(desk: Desk) -> None:
    running, parked = await desk.bring_to(State.RUNNING), await desk.bring_to(State.PARKED)
    listed = await oaas("saga", "list", "--tenant", desk.tenant_id)
    assert listed.exit_code == 0, listed.output
    assert listed.output.index(str(parked)) < listed.output.index(str(running))
    assert "PARKED" in listed.output
    page = (await desk.get("/sagas", tenant=str(desk.tenant_id))).json()
    wide = Console(width=200, file=StringIO(), record=True)
    desk_drawing.draw_list(wide, page)
    [line] = [line for line in wide.export_text().splitlines() if str(parked) in line]
    for told in ("PARKED", "place-order 2", "reserve-stock", FAULT.fingerprint, str(desk.tenant_id)):
        assert told in line


async def test_the_list_takes_every_filter_and_pages(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    other = await desk.bring_to(State.RUNNING)
    order = (await desk.show(id))["order"]
    words = ("--state", "parked", "--step", "reserve-stock", "--tenant", desk.tenant_id, "--saga", "place-order", "--order", order)
    listed = await oaas("saga", "list", *words, "--fingerprint", FAULT.fingerprint, "--json")
    assert [one["id"] for one in json.loads(listed.stdout)["items"]] == [str(id)]
    none = await oaas("saga", "list", "--tenant", desk.tenant_id, "--older-than", "1h", "--stuck")
    assert (none.exit_code, none.stdout.strip()) == (0, "no saga fits")
    first = json.loads((await oaas("saga", "list", "--tenant", desk.tenant_id, "--limit", 1, "--json")).stdout)
    second = json.loads((await oaas("saga", "list", "--tenant", desk.tenant_id, "--cursor", first["next"], "--json")).stdout)
    assert [one["id"] for one in first["items"] + second["items"]] == [str(id), str(other)]


async def test_show_draws_steps_attempts_undo_and_who_did_what(desk: Desk) -> None:
    id = await desk.bring_to(State.COMPENSATING)
    await desk.act("retry", id, "are you there [really]?")
    shown = await oaas("saga", "show", id)
    assert shown.exit_code == 0, shown.output
    for told in ("refused (OutOfStock)", "↶ reserve-quota", "By developer: are you there [really]?", "turned back because of OUT_OF_STOCK"):
        assert told in flat(shown), told
    assert "cancel no: it is turning back already" in flat(shown)
    assert "retry yes" in flat(shown)
    assert "asked 2 x, until" in flat(shown)


async def test_show_says_when_a_parked_saga_is_given_up_and_whose_word_a_skip_is(desk: Desk) -> None:
    parked, paused, skipped = [await desk.bring_to(state) for state in (State.PARKED, State.PAUSED, State.COMPENSATING)]
    told = flat(await oaas("saga", "show", parked))
    assert ("no time runs" in told, "parked until somebody has mended the fault; given up 20" in told) == (False, True)
    assert "asked 1 x, no time runs" in flat(await oaas("saga", "show", paused))
    await desk.act("skip", skipped, "by hand")
    assert "skipped by developer, on whose word it is taken as done" in flat(await oaas("saga", "show", skipped))


async def test_nothing_that_people_wrote_reaches_the_terminal_as_a_command(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    await desk.act("retry", id, "\x1b[31mred\x1b]0;title\x07")
    for words in (("saga", "show", id), ("why", id)):
        assert "\x1b" not in (await oaas(*words)).output


async def test_a_verb_reads_the_revision_and_acts_as_the_person_who_types(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    done = await oaas("saga", "retry", id, "--reason", "mended")
    assert (done.exit_code, f"retry: {id} was PARKED, is RUNNING" in flat(done)) == (0, True), done.output
    [attempt] = await desk.audit(id)
    assert (attempt["actor"], attempt["reason"]) == (getpass.getuser(), "mended")


@pytest.mark.parametrize(("verb", "state", "after"), [("cancel", "RUNNING", "COMPENSATING"), ("pause", "RUNNING", "PAUSED")])
async def test_each_verb_is_a_command(desk: Desk, verb: str, state: str, after: str) -> None:
    id = await desk.bring_to(State(state))
    assert (await oaas("saga", verb, id, "--reason", "x", "--json")).exit_code == 0
    assert (await desk.show(id))["state"] == after


async def test_resume_and_skip_are_commands_too(desk: Desk) -> None:
    paused, parked = await desk.bring_to(State.PAUSED), await desk.bring_to(State.PARKED)
    assert (await oaas("saga", "resume", paused, "--reason", "x")).exit_code == 0
    answer = json.dumps({"reservation_id": str(uuid4())})
    skipped = await oaas("saga", "skip", parked, "--step", "reserve-stock", "--answer", answer, "--reason", "counted by hand")
    assert skipped.exit_code == 0, skipped.output
    assert [(await desk.show(id))["state"] for id in (paused, parked)] == ["RUNNING", "RUNNING"]


async def test_what_is_refused_says_why_with_exit_code_1(desk: Desk) -> None:
    refused = await oaas("saga", "cancel", await desk.bring_to(State.COMPLETING), "--reason", "x")
    assert (refused.exit_code, "past the point of no return" in flat(refused)) == (1, True)
    for words in (("saga", "show"), ("saga", "retry", "--reason", "x"), ("why",)):
        unknown = await oaas(*words, uuid4())
        assert (unknown.exit_code, "there is no" in flat(unknown) or "there is none" in flat(unknown)) == (1, True), unknown.output


async def test_a_dry_run_prints_what_would_happen_and_does_nothing(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    counted = await oaas("saga", "retry", "--tenant", desk.tenant_id, "--state", "PARKED", "--reason", "x", "--dry-run")
    assert counted.exit_code == 0
    assert "retry would try on 1 sagas" in counted.output
    assert str(id) in counted.output
    assert (await desk.show(id))["state"] == "PARKED"


async def test_with_filters_it_asks_first(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    words = ("saga", "retry", "--tenant", desk.tenant_id, "--reason", "x")
    declined = await oaas(*words, answering="n\n")
    assert (declined.exit_code, "nothing was done" in declined.output) == (1, True)
    assert (await desk.show(id))["state"] == "PARKED"
    accepted = await oaas(*words, answering="y\n")
    assert (accepted.exit_code, "retry: 1 done, 0 refused" in accepted.output) == (0, True), accepted.output


async def test_something_refused_among_many_is_exit_code_1_and_names_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "ACT_MAX", 2)
    monkeypatch.setattr(cli_saga, "_PROGRESS_AFTER_S", 0.0)
    able = [await desk.bring_to(State.RUNNING) for _ in range(4)]
    unable = await desk.bring_to(State.COMPLETING)
    acted = await oaas("saga", "cancel", "--tenant", desk.tenant_id, "--reason", "x", "--yes")
    assert (acted.exit_code, "cancel: 4 done, 1 refused" in acted.output) == (1, True), acted.output
    assert f"{unable} cannot cancel: it is past the point" in flat(acted)
    assert {(await desk.show(id))["state"] for id in able} == {"COMPENSATING"}


async def test_why_tells_the_story_with_the_commands_to_type(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    told = await oaas("why", (await desk.show(id))["order"])
    assert told.exit_code == 0
    for title in ("Where it is", "What it waits for", "What failed", "What to do"):
        assert title in told.output
    assert f"oaas saga retry {id} --reason '...'\n" in told.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["retry", "--reason", "x"], "either a saga's id or at least one filter"),
        (["retry", "ID", "--state", "PARKED", "--reason", "x"], "either a saga's id or at least one filter"),
        (["retry", "ID", "--reason", "x", "--dry-run"], "--dry-run is for filters"),
        (["list", "--state", "LOST"], "state must be one of"),
        (["list", "--older-than", "5x"], "older_than must be how long ago: write 30s, 15m, 2h or 7d"),
        (["list", "--saga", "place-ordre"], "saga must be one of place-order, cancel-order"),
        (["list", "--step", "reserve"], "step must be one of reserve-quota"),
        (["skip", "--step", "capture", "--reason", "x", "--yes"], "step must be one of"),
        (["show", " "], "name a saga by its id"),
        (["show", "a/b"], "name a saga by its id"),
        (["show", "not-an-id"], "must be a UUID"),
        (["skip", "ID", "--reason", "x", "--answer", "[1]"], "--answer is a JSON object"),
        (["skip", "ID", "--reason", "x", "--answer", "{bad"], """--answer is a JSON object, such as '{"reservation_id": "..."}'"""),
        (["skip", "ID", "--reason", "x", "--answer", ""], "--answer is a JSON object"),
        (["retry", "--state", "PARKED", "--reason", "x", "--json"], "say --yes"),
        (["retry", "--state", "COMPLETED", "--reason", "x", "--yes"], "must be a state that is not final"),
    ],
)
async def test_what_cannot_run_is_one_clear_line_and_exit_code_2(desk: Desk, words: list[str], told: str) -> None:
    failed = await oaas("saga", *words)
    assert (failed.exit_code, told in flat(failed)) == (2, True), failed.output
    assert "Traceback" not in failed.output


async def test_no_api_no_token_and_a_token_without_the_scope_say_what_mends_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = await oaas("saga", "list", "--url", "http://127.0.0.1:1")
    assert (nobody.exit_code, "start it with `oaas up`" in flat(nobody)) == (2, True)
    monkeypatch.setenv("OAAS_TOKEN", desk.api.token("orders:read", tenant_id=desk.tenant_id)["Authorization"].split()[1])
    lacking = await oaas("saga", "list")
    assert (lacking.exit_code, "with the scope ops" in flat(lacking)) == (2, True)
    monkeypatch.setenv("OAAS_TOKEN", desk.operator["Authorization"].split()[1])
    assert (await oaas("saga", "list", "--limit", 1)).exit_code == 0
    monkeypatch.delenv("OAAS_TOKEN")
    monkeypatch.setenv("OAAS_HOME", str(desk.api.home / "elsewhere"))
    keyless = await oaas("saga", "list")
    assert (keyless.exit_code, "set OAAS_TOKEN" in flat(keyless)) == (2, True)


async def test_without_a_platform_in_this_home_no_token_is_sent_to_whatever_listens_on_the_default_port(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OAAS_API_URL")
    monkeypatch.setenv("OAAS_API_PORT", desk.base_url.rsplit(":", 1)[1])
    nowhere = await oaas("saga", "list")
    assert nowhere.exit_code == 2
    assert "no platform runs in this home: start one with oaas up, or name its API with --url or OAAS_API_URL" in flat(nowhere)
    assert (await oaas("saga", "list", "--url", desk.base_url, "--limit", 1)).exit_code == 0
    monkeypatch.setenv("OAAS_HOME", str(tmp_path))
    copytree(desk.api.home / "keys", tmp_path / "keys")
    (tmp_path / "environment").write_text(f"OAAS_API_PORT={desk.base_url.rsplit(':', 1)[1]}\n")
    monkeypatch.delenv("OAAS_API_PORT")
    assert (await oaas("saga", "list", "--limit", 1)).exit_code == 0


@pytest.mark.parametrize("token", [" ", "two words", "ended\n", "żeton", "\x1b[31m"])
async def test_a_token_that_is_none_is_named_by_its_variable_and_never_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("OAAS_TOKEN", token)
    refused = await oaas("saga", "list")
    assert (refused.exit_code, "OAAS_TOKEN is no token" in flat(refused)) == (2, True), refused.output
    assert token == " " or token.strip() not in refused.output


@pytest.mark.parametrize("id", ["", "  ", "a/b", "..", "nul\x00"])
async def test_why_of_nothing_says_what_can_be_asked_for(desk: Desk, id: str) -> None:
    refused = await oaas("why", id)
    assert (refused.exit_code, "name an order, saga, message or trace" in flat(refused)) == (2, True), refused.output


async def test_an_order_that_is_shown_as_a_saga_is_sent_to_why(desk: Desk) -> None:
    order = (await desk.show(await desk.bring_to(State.RUNNING)))["order"]
    for words in (("saga", "show"), ("saga", "retry", "--reason", "x")):
        refused = await oaas(*words, order)
        assert (refused.exit_code, f"oaas why {order}" in flat(refused)) == (1, True), refused.output


async def test_two_operators_are_told_apart_by_the_subjects_of_their_tokens(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    id = await desk.bring_to(State.RUNNING)
    for name in ("Ada", "Grace"):
        monkeypatch.setenv("OAAS_TOKEN", (await oaas("token", "--scope", "ops", "--subject", name)).stdout.strip())
        assert (await oaas("saga", "retry", id, "--reason", "x")).exit_code == 0
        monkeypatch.delenv("OAAS_TOKEN")
    assert [attempt["actor"] for attempt in await desk.audit(id)] == ["Ada", "Grace"]


async def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    words = ("saga", "retry", "--tenant", desk.tenant_id, "--reason", "x")
    for how in ((), ("--json",)):
        refused = await oaas(*words, *how)
        assert (refused.exit_code, "say --yes" in flat(refused), refused.stdout) == (2, True, "")
    assert (await desk.show(id))["state"] == "PARKED"
    assert json.loads((await oaas(*words, "--json", "--yes")).stdout)["done"] == 1


def test_lengths_of_time_read_well() -> None:
    lengths = {0.004: "4 ms", 1.25: "1.2 s", 200: "3 min 20 s", 7_300: "2 h 1 min", 200_000: "2 d 7 h"}
    assert {s: desk_drawing.span(timedelta(seconds=s)) for s in lengths} == lengths


@pytest.mark.parametrize("command", ["list", "show", "retry", "skip", "cancel", "pause", "resume"])
async def test_every_command_teaches_with_an_example(desk: Desk, command: str) -> None:
    assert f"Example: oaas saga {command}" in flat(await oaas("saga", command, "--help"))
