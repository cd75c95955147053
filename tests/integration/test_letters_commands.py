"""`oaas dead-letters` as people type it, on real servers: looking, putting away. What is printed, and the exit code."""

import getpass
import json
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest
from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from infra.errors import Outage
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.token import ensure_development_key
from tests.integration.letters_terminal import Terminal, for_a_tenant
from tests.integration.messaging import reserve, until
from tests.integration.replays import QUEUE, Bug
from tests.integration.terminal import flat, hesitating, next_commands, oaas, on_a_port


async def test_groups_turn_many_letters_into_few_causes_and_say_what_to_type_next(terminal: Terminal) -> None:
    await terminal.letters(3, KeyError("shelf"))
    await terminal.letters(1, ZeroDivisionError("no\n  price \x1b[31m"))
    told = await terminal.type("groups", "--tenant", terminal.tenant)
    assert told.exit_code == 0, told.output
    assert "4 letters, 2 causes" in told.output
    assert told.output.index("KeyError: 'shelf'") < told.output.index("ZeroDivisionError: no price ·[31m")
    assert f"inventory.ReserveStock.v1 on {QUEUE}" in told.output
    show, dry_run = next_commands(told.output)
    assert "KeyError" in (await oaas(*show)).output
    planned = await oaas(*dry_run)
    assert (planned.exit_code, "3 letters would be sent again" in planned.output) == (0, True), planned.output
    groups = json.loads((await terminal.type("groups", "--tenant", terminal.tenant, "--json")).stdout)
    assert [group["count"] for group in groups["groups"]] == [3, 1]


async def test_without_letters_there_is_nothing_to_do(terminal: Terminal) -> None:
    told = await terminal.type("groups", "--tenant", terminal.tenant)
    assert (told.exit_code, told.stdout.strip()) == (0, "no dead letter fits")


async def test_the_list_takes_every_filter_and_pages(terminal: Terminal) -> None:
    envelopes = [reserve(terminal.tenant), reserve(terminal.tenant)]
    first, second = await terminal.letters(said=envelopes)
    own = ("--tenant", terminal.tenant)
    fingerprint = json.loads((await terminal.type("list", *own, "--json")).stdout)["letters"][0]["fingerprint"]
    words = ("--queue", QUEUE, "--service", "inventory", "--type", "inventory.ReserveStock.v1", "--fingerprint", fingerprint)
    more = ("--saga", envelopes[0].sagaid, "--message", envelopes[0].id, "--state", "dead", "--since", "1h", "--attempts-min", 1)
    found = await terminal.type("list", *own, *words, *more, "--not-native", "--json")
    assert [one["id"] for one in json.loads(found.stdout)["letters"]] == [str(first)], found.output
    for none in (("--until", "1h"), ("--native",), ("--state", "ARCHIVED"), ("--attempts-min", 2)):
        assert (await terminal.type("list", *own, *none)).stdout.strip() == "no letter fits"
    page = await terminal.type("list", *own, "--limit", 1)
    # They died at the same moment, or one after the other: which is the newer one is not told.
    [newer] = [id for id in (first, second) if str(id) in page.output]
    cursor = page.output.split("--cursor ")[1].split()[0]
    following = await terminal.type("list", *own, "--limit", 1, "--cursor", cursor)
    assert [id for id in (first, second) if str(id) in following.output] == [id for id in (first, second) if id != newer]


async def test_show_tells_the_story_and_every_command_it_ends_with_can_be_typed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, quiet_inventory: Bug
) -> None:
    envelope = reserve(terminal.tenant, "APPLE")
    [id] = await terminal.letters(said=[envelope], error=KeyError("shelf"))
    told = await terminal.type("show", id)
    assert told.exit_code == 0, told.output
    for wanted in (str(id), "inventory.ReserveStock.v1 DEAD", QUEUE, "KeyError: 'shelf'", str(envelope.sagaid), '"sku": "APPLE"'):
        assert wanted in told.output, wanted
    assert "tests/integration/letters.py:" in told.output, "the frames in our own code"
    monkeypatch.setenv("EDITOR", "true")
    typed = next_commands(told.output)
    assert [words[1] for words in typed if words[0] == "dead-letters"] == ["list", "edit", "replay", "replay", "archive"]
    for words in typed:
        if words[0] == "dead-letters":
            assert (await oaas(*words, answering="n\n")).exit_code in (0, 1), words
    assert await terminal.states() == {"DEAD": 1}


async def test_show_of_what_is_no_message_offers_no_edit(terminal: Terminal) -> None:
    exchange = await terminal.desk.stage.client.get_exchange("dead-letters", ensure=False)
    body = f"\x1b[31m{uuid4()}"
    await exchange.publish(aio_pika.Message(body.encode()), QUEUE)

    async def is_there() -> bool:
        return bool(await terminal.desk.stage.rows("SELECT 1 FROM ops.letter WHERE body = $1", body))

    await until(is_there, lambda: "it was not taken in")
    [row] = await terminal.desk.stage.rows("SELECT id FROM ops.letter WHERE body = $1", body)
    told = await terminal.type("show", row["id"])
    assert (told.exit_code, "\x1b" in told.output, " edit " in told.output) == (0, False, False), told.output
    refused = await terminal.type("edit", row["id"], "--set", "a=1", "--reason", "x", "--yes")
    assert (refused.exit_code, "no message that can be read" in flat(refused)) == (1, True)


async def test_letters_are_archived_restored_and_purged_from_the_archive_only(terminal: Terminal) -> None:
    first, second = await terminal.letters(2)
    own = ("--tenant", terminal.tenant, "--reason", "a test")
    declined = await terminal.type("archive", *own, answering="n\n")
    assert (declined.exit_code, "archive would act on 2 letters" in declined.output) == (1, True), declined.output
    assert (await terminal.type("archive", *own, "--dry-run")).exit_code == 0
    assert await terminal.states() == {"DEAD": 2}
    assert (await terminal.type("archive", *own, answering="y\n")).exit_code == 0
    assert await terminal.states() == {"ARCHIVED": 2}
    restored = await terminal.type("restore", first, "--reason", "x", "--yes", "--json")
    assert (restored.exit_code, json.loads(restored.stdout)["done"]) == (0, 1), restored.output
    purged = await terminal.type("purge", first, second, "--reason", "x", "--yes")
    assert (purged.exit_code, f"{first}  it is DEAD, not ARCHIVED" in purged.output) == (1, True), purged.output
    assert await terminal.states() == {"DEAD": 1}
    told = (await terminal.type("audit", "--letter", first)).output
    assert [verb in told for verb in ("archive", "restore", "purge")] == [True, True, True]
    assert getpass.getuser() in told


async def test_what_dies_between_the_question_and_the_answer_is_not_archived(terminal: Terminal) -> None:
    await terminal.letters()
    words = ("dead-letters", "archive", "--tenant", terminal.tenant, "--reason", "x")
    assert await hesitating(*words, meanwhile=terminal.letters) == 0
    assert await terminal.states() == {"ARCHIVED": 1, "DEAD": 1}


async def test_an_outage_names_the_server_and_the_page_to_open(terminal: Terminal, tmp_path: Path) -> None:
    away = APIRouter()

    @away.get("/v1/ops/dead-letters/groups")
    async def groups() -> None:
        raise Outage

    verifier = Verifier(str(ensure_development_key(tmp_path)), "x", "x")
    served = create_app("test", {"ops": away}, verifier=verifier, registry=CollectorRegistry())
    async with on_a_port(served, tmp_path) as url:
        down = await terminal.type("groups", "--url", url)
        unreadable = await terminal.type("show", uuid4(), "--url", url)
    silent = await terminal.type("groups", "--url", url)
    for told, what in ((down, "most likely PostgreSQL"), (silent, f"no API answers at {url}")):
        assert (told.exit_code, told.stdout, url in told.stderr, what in told.stderr) == (2, "", True, True), told.output
        assert "docs/runbooks/dead-letters.md, part 7: drain" in told.stderr
        assert "Errno" not in told.stderr
    assert "part 7" not in unreadable.output


async def test_with_json_what_the_platform_refuses_is_one_document_too(terminal: Terminal) -> None:
    refused = await terminal.type("show", uuid4(), "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert json.loads(refused.stderr)["error"]["kind"] == "refused"


async def test_an_operator_of_a_tenant_sees_its_letters_only(
    terminal: Terminal, shared_terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = await terminal.letters(), await (await for_a_tenant(shared_terminal)).letters()
    token = (await oaas("token", "--scope", "ops", "--tenant", terminal.tenant)).stdout.strip()
    monkeypatch.setenv("OAAS_TOKEN", token)
    listed = await terminal.type("list")
    assert (str(own[0]) in listed.output, str(other[0]) in listed.output) == (True, False)
    unknown = await terminal.type("show", other[0])
    assert (unknown.exit_code, "there is no dead letter" in flat(unknown)) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "not-an-id"], "LETTER must be a UUID such as"),
        (["list", "--since", "yesterday"], "--since is how long ago, such as 30m, 2h or 7d"),
        (["list", "--until", "2026-03-01T22:00"], "--until is how long ago"),
        (["list", "--state", "LOST"], "state"),
        (["archive", "--reason", "x", "--yes"], "say which letters"),
        (["purge", str(uuid4()), "--queue", "x", "--reason", "x"], "say which letters"),
        (["restore", "--queue", "x"], "--reason is missing: say why"),
        (["archive", "--queue", "x", "--reason", "x", "--json"], "say --yes"),
        (["purge", str(uuid4()), "--reason", "x"], "say --yes"),
        (["edit", str(uuid4()), "--set", "a=1", "--reason", "x"], "say --yes"),
        (["import", "x", "--reason", "x"], "say --yes"),
        (["archive", "--queue", QUEUE, "--reason", " ", "--yes"], "--reason is missing: say why"),
        (["export", "--to", "/tmp"], "--to: /tmp is a folder"),
        (["export", "--to", "/nowhere/x"], "--to: there is no folder /nowhere for x"),
        (["list", "--queue", "inventory.command.0"], "queue is none that any letter has: did you mean inventory.commands.0?"),
        (["archive", "--type", "reservestock", "--reason", "x", "--dry-run"], "did you mean inventory.ReserveStock.v1?"),
        (["replay", "--service", "nonsense", "--reason", "x", "--dry-run"], "service is none that any letter has: there are tenants,"),
        (["export", "--queue", "nonsense", "--to", "x"], "queue is none that any letter has"),
        (["groups", "--since", "1h", "--until", "2h"], "until must be after since"),
        (["groups", "--attempts-min", "0"], "--attempts-min must be at least 1"),
        (["archive", "--state", "SETTLED", "--queue", "x", "--reason", "x", "--yes"], "must have the state DEAD"),
        (["edit", str(uuid4()), "--set", "a=1", "--file", "x", "--reason", "x"], "in one way: --set or --file"),
        (["import", "nowhere.ndjson", "--reason", "x", "--yes"], "FILE: there is no file nowhere.ndjson"),
        (["export"], "--to is missing: the file"),
        (["groups", "--url", "http://127.0.0.1:1"], "start it with `oaas up`"),
    ],
)
async def test_what_cannot_run_is_one_clear_line_and_exit_code_2(terminal: Terminal, words: list[str], told: str) -> None:
    failed = await terminal.type(*words)
    assert (failed.exit_code, told in flat(failed)) == (2, True), failed.output
    assert "Traceback" not in failed.output
