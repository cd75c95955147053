"""`oaas dead-letters replay` as people type it, on real servers: plan, start, watch, stop; what is printed, and the exit code."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra.cli.letters import client as letters_client
from infra.dev.ports import LOOPBACK, kept_port
from tests.integration.letters_terminal import Terminal
from tests.integration.messaging import Stage, until, working
from tests.integration.replays import QUEUE, Bug, inventory_with
from tests.integration.terminal import flat, hesitating, next_commands, oaas, on_a_port
from tests.integration.workers import ROOT


@pytest.fixture
async def bug(open_stage: Stage, tmp_path: Path) -> AsyncIterator[Bug]:
    """Inventory's worker, with a bug until the test mends it."""
    bug = Bug()
    await (await open_stage.client.get_queue(QUEUE, ensure=False)).purge()
    async with working(inventory_with(bug), open_stage.settings, tmp_path):
        yield bug


async def test_a_dry_run_says_what_would_be_sent_and_its_plan_sends_exactly_that(terminal: Terminal, bug: Bug) -> None:
    planned = await terminal.letters(3)
    words = ("replay", "--tenant", terminal.tenant, "--reason", "release 1.4.2 mends it")
    dry = await terminal.type(*words, "--dry-run")
    assert dry.exit_code == 0, dry.output
    for told in (
        "3 letters would be sent again",
        f"queue         3  {QUEUE}",
        "type          3  inventory.ReserveStock.v1",
        str(planned[0]),
    ):
        assert told in dry.output, dry.output
    assert "! inventory still runs the build that failed 3 of its 3 letters" in dry.output
    assert await terminal.states() == {"DEAD": 3}
    await terminal.letters(2)
    bug.is_mended = True
    [start, cancel] = next_commands(dry.output)
    assert cancel[:2] == ["dead-letters", "cancel"]
    sent = await oaas(*start)
    assert (sent.exit_code, "3  settled" in sent.output) == (0, True), sent.output
    assert await terminal.states() == {"SETTLED": 3, "DEAD": 2}
    again = await oaas(*start)
    assert (again.exit_code, "cannot start: it is DONE" in flat(again)) == (1, True), again.output


async def test_without_a_plan_it_plans_asks_sends_and_watches(terminal: Terminal, bug: Bug) -> None:
    bug.is_mended = True
    [first, second, _] = await terminal.letters(3)
    declined = await terminal.type("replay", first, second, "--reason", "x", answering="n\n")
    assert (declined.exit_code, "nothing was done" in declined.output) == (1, True), declined.output
    assert await terminal.states() == {"DEAD": 3}
    accepted = await terminal.type("replay", first, second, "--reason", "x", answering="y\n")
    assert (accepted.exit_code, "2  settled" in accepted.output) == (0, True), accepted.output
    assert await terminal.states() == {"SETTLED": 2, "DEAD": 1}
    everything = await terminal.type("replay", "--tenant", terminal.tenant, "--reason", "x", "--yes", "--json")
    assert (everything.exit_code, json.loads(everything.stdout)["settled"]) == (0, 1), everything.output
    nothing = await terminal.type("replay", "--tenant", terminal.tenant, "--reason", "x", "--yes")
    assert (nothing.exit_code, "0 letters would be sent again" in nothing.output) == (0, True), nothing.output


async def test_what_dies_between_the_question_and_the_answer_is_not_sent(terminal: Terminal, bug: Bug) -> None:
    bug.is_mended = True
    await terminal.letters(2)
    words = ("dead-letters", "replay", "--tenant", terminal.tenant, "--reason", "x")
    assert await hesitating(*words, meanwhile=terminal.letters) == 0
    assert await terminal.states() == {"SETTLED": 2, "DEAD": 1}


async def test_what_fails_again_is_named_with_exit_code_1(terminal: Terminal, bug: Bug) -> None:
    [id] = await terminal.letters()
    failed = await terminal.type("replay", id, "--reason", "x", "--yes")
    assert (failed.exit_code, "1  failed again" in failed.output) == (1, True), failed.output
    assert f"{id}  FAILED  it died again: Broken: no shelf" in failed.output
    assert ["dead-letters", "groups"] in next_commands(failed.output)


async def test_a_canary_that_dies_stops_it_and_it_says_how_to_go_on(terminal: Terminal, bug: Bug) -> None:
    await terminal.letters(12)
    words = ("replay", "--tenant", terminal.tenant, "--reason", "x", "--canary", 4, "--yes")
    stopped = await terminal.type(*words)
    assert (stopped.exit_code, "It stopped itself: " in stopped.output) == (1, True), stopped.output
    assert "of the first 4 failed again, more than the 10 % of --stop-above; " in stopped.output
    assert "letters were not sent. Mend what these failed of, then resume it, or cancel it." in stopped.output
    _, resume, _ = next_commands(stopped.output)
    bug.is_mended = True
    resumed = await oaas(*resume)
    assert (resumed.exit_code, "RUNNING" in resumed.output) == (0, True), resumed.output
    [follow] = [words for words in next_commands(resumed.output) if "--follow" in words]
    followed = await oaas(*follow)
    assert (followed.exit_code, "8  settled" in followed.output, "4  failed again" in followed.output) == (1, True, True), followed.output
    assert await terminal.states() == {"SETTLED": 8, "DEAD": 4}


async def test_what_is_left_out_is_counted_with_its_reason(terminal: Terminal, bug: Bug) -> None:
    [id] = await terminal.letters()
    for _ in range(3):
        assert (await terminal.type("replay", id, "--reason", "x", "--yes")).exit_code == 1
    held_back = await terminal.type("replay", id, "--reason", "x", "--yes")
    assert (held_back.exit_code, "--include-held-back sends them nevertheless" in flat(held_back)) == (1, True), held_back.output
    assert "! held back" in (await terminal.type("show", id)).output
    bug.is_mended = True
    assert (await terminal.type("replay", id, "--reason", "x", "--yes", "--include-held-back")).exit_code == 0


async def test_replays_are_listed_paused_resumed_and_cancelled(terminal: Terminal, bug: Bug) -> None:
    bug.is_mended = True
    await terminal.letters(60)
    started = await terminal.type("replay", "--tenant", terminal.tenant, "--reason", "slowly", "--rate", 10, "--yes", "--no-wait")
    assert (started.exit_code, "RUNNING" in started.output) == (0, True), started.output
    id = started.output.split("replay ")[1][:36]
    paused = await terminal.type("pause", id, "--reason", "a minute")
    assert (paused.exit_code, "PAUSED" in paused.output) == (0, True), paused.output
    followed = await terminal.type("replays", "--follow", id)
    assert (followed.exit_code, "PAUSED" in followed.output) == (1, True), "it would wait for ever"
    assert id in (await terminal.type("replays", "--state", "paused")).output
    assert json.loads((await terminal.type("resume", id, "--reason", "go on", "--json")).stdout)["state"] == "RUNNING"
    cancelled = await terminal.type("cancel", id, "--reason", "enough")
    assert (cancelled.exit_code, "cancelled before they were sent" in cancelled.output) == (0, True), cancelled.output
    shown = await terminal.type("replays", id)
    assert "cancelled by" in shown.output
    refused = await terminal.type("resume", id, "--reason", "x")
    assert (refused.exit_code, "cannot resume: it is CANCELLED" in flat(refused)) == (1, True), refused.output
    audit = (await terminal.type("audit", "--replay", id)).output
    assert [verb in audit for verb in ("plan replay", "start replay", "pause replay", "resume replay", "cancel replay")] == [True] * 5


async def test_ctrl_c_leaves_it_running_and_says_how_to_look_again(terminal: Terminal, bug: Bug) -> None:
    bug.is_mended = True
    await terminal.letters(40)
    words = ["replay", "--tenant", str(terminal.tenant), "--reason", "x", "--rate", "10", "--yes"]
    command = [sys.executable, "-m", "infra.cli", "dead-letters", *words]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    async def has_begun() -> bool:
        return (await terminal.states()).get("SETTLED", 0) > 2

    await until(has_begun, lambda: "it was not begun")
    process.send_signal(signal.SIGINT)
    _, told = await process.communicate()
    assert process.returncode == 1, told
    assert b"It goes on without you." in told
    [follow] = [words for words in next_commands(told.decode()) if "--follow" in words]
    followed = await oaas(*follow)
    assert (followed.exit_code, "40  settled" in followed.output) == (0, True), followed.output


async def test_the_api_may_go_away_while_a_replay_is_followed(terminal: Terminal, bug: Bug, tmp_path: Path) -> None:
    bug.is_mended = True
    await terminal.letters(40)

    async def settled(count: int) -> None:
        async def are_settled() -> bool:
            return (await terminal.states()).get("SETTLED", 0) >= count

        await until(are_settled, lambda: f"not even {count} were settled")

    words = ("replay", "--tenant", terminal.tenant, "--reason", "x", "--rate", 10, "--yes")
    async with on_a_port(terminal.served, tmp_path) as url:
        typed = asyncio.create_task(terminal.type(*words, "--url", url))
        await settled(3)
    await settled(15)
    async with on_a_port(terminal.served, tmp_path) as back:
        assert back == url
        followed = await typed
    assert (followed.exit_code, "40  settled" in followed.output) == (0, True), followed.output


async def test_a_plan_is_asked_for_again_while_the_api_restarts(terminal: Terminal, tmp_path: Path) -> None:
    await terminal.letters()
    url = f"http://{LOOPBACK}:{kept_port(tmp_path / 'port')}"
    words = ("replay", "--tenant", terminal.tenant, "--reason", "x", "--dry-run", "--url", url)
    typed = asyncio.create_task(terminal.type(*words))
    await asyncio.sleep(0.5)
    async with on_a_port(terminal.served, tmp_path) as back:
        assert back == url
        planned = await typed
    assert (planned.exit_code, "1 letters would be sent again" in planned.stdout) == (0, True), planned.output
    assert planned.stderr.count("Trying again for 30 s") == 1, planned.stderr


async def test_an_api_that_stays_away_is_not_waited_for_for_ever(
    terminal: Terminal, bug: Bug, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(letters_client, "_AWAY_MAX_S", 0.5)
    await terminal.letters(60)
    words = ("replay", "--tenant", terminal.tenant, "--reason", "x", "--rate", 1, "--yes")
    async with on_a_port(terminal.served, tmp_path) as url:
        typed = asyncio.create_task(terminal.type(*words, "--url", url))

        async def has_begun() -> bool:
            return bool(await terminal.desk.stage.rows("SELECT 1 FROM ops.replay_item WHERE tenant_id = $1 AND sends > 0", terminal.tenant))

        await until(has_begun, lambda: "it was not begun")
    away = await typed
    assert away.exit_code == 2, away.output
    id = flat(away).split("The replay goes on without it: oaas dead-letters replays --follow ")[1][:36]
    assert (await terminal.type("replays", "--follow", id, "--url", "http://127.0.0.1:1")).exit_code == 2
    assert (await terminal.type("cancel", id, "--reason", "a test")).exit_code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["replay", "--reason", "x"], "say which letters in one way"),
        (["replay", "--all", "--queue", "x", "--reason", "x"], "say which letters in one way"),
        (["replay", str(uuid4()), "--plan", str(uuid4())], "say which letters in one way"),
        (["replay", "--plan", str(uuid4()), "--dry-run"], "leave one of them out"),
        (["replay", "--all"], "--reason is missing"),
        (["replay", "--all", "--reason", " "], "--reason is missing"),
        (["replay", "--all", "--reason", "x", "--rate", "0"], "--rate"),
        (["replay", "--all", "--reason", "x", "--json"], "say --yes"),
        (["replay", "--state", "ARCHIVED", "--reason", "x", "--dry-run"], "restore what is archived first"),
        (["replays", "--follow"], "--follow needs the replay's id"),
        (["pause", str(uuid4())], "--reason is missing: say why"),
    ],
)
async def test_what_cannot_run_is_one_clear_line_and_exit_code_2(terminal: Terminal, words: list[str], told: str) -> None:
    failed = await terminal.type(*words)
    assert (failed.exit_code, told in flat(failed)) == (2, True), failed.output
    assert "Traceback" not in failed.output


@pytest.mark.parametrize("words", [["replays"], ["replays", "--follow"], ["pause", "--reason", "x"], ["replay", "--plan"]])
async def test_a_replay_that_there_is_not_is_exit_code_1(terminal: Terminal, words: list[str]) -> None:
    unknown = await terminal.type(*words, uuid4())
    assert (unknown.exit_code, "there is no replay" in flat(unknown)) == (1, True), unknown.output
