"""`oaas dead-letters edit`, `export` and `import` as people type them, on real servers: nothing that somebody wrote is lost."""

import getpass
import json
import tempfile
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest

from contracts.addresses import dead_letter_address
from infra.letters import headers_of
from tests.integration.letters_terminal import Terminal
from tests.integration.messaging import COMMANDS, reserve, until
from tests.integration.replays import QUEUE, Bug
from tests.integration.terminal import flat, next_commands, oaas


async def test_edit_by_field_shows_the_difference_asks_and_keeps_what_died(terminal: Terminal, quiet_inventory: Bug) -> None:
    [id] = await terminal.letters()
    words = ("edit", id, "--set", "lines[0].quantity=7", "--reason", "they want seven")
    declined = await terminal.type(*words, answering="n\n")
    assert (declined.exit_code, "+ lines[0].quantity = 7" in declined.output) == (1, True), declined.output
    dry = await terminal.type(*words, "--dry-run")
    assert (dry.exit_code, "- lines[0].quantity = 1" in dry.output) == (0, True)
    assert json.loads((await terminal.type("show", id, "--json")).stdout)["revision"] == 0
    edited = await terminal.type(*words, answering="y\n")
    assert (edited.exit_code, "changed: revision 1" in edited.output) == (0, True), edited.output
    shown = (await terminal.type("show", id)).output
    assert f"1. {getpass.getuser()}" in shown
    assert "they want seven" in shown
    assert "lines[0].quantity: 1 -> 7" in shown
    assert (await terminal.type(*words, "--yes")).stdout.strip() == "nothing would change"


async def test_edit_in_an_editor_asks_again_when_it_is_wrong_and_loses_nothing(
    terminal: Terminal, quiet_inventory: Bug, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [id] = await terminal.letters()
    rounds = tmp_path / "rounds"
    editor = tmp_path / "editor"
    editor.write_text(
        "#!/bin/sh\necho x >> " + str(rounds) + "\ncase $(wc -l < " + str(rounds) + ") in\n"
        " 1) echo '{' > $1 ;;\n 2) echo '{\"lines\": []}' > $1 ;;\n *) cp " + str(tmp_path / "good") + " $1 ;;\nesac\n"
    )
    editor.chmod(0o700)
    data = json.loads((await terminal.type("show", id, "--json")).stdout)["body"]["data"]
    (tmp_path / "good").write_text(json.dumps({**data, "lines": [{"sku": "APPLE", "quantity": 3}]}))
    monkeypatch.setenv("EDITOR", str(editor))
    edited = await terminal.type("edit", id, "--reason", "x", answering="y\ny\ny\n")
    assert edited.exit_code == 0, edited.output
    assert "is no JSON" in edited.output
    assert "lines" in edited.output
    assert "+ lines[0].quantity = 3" in edited.output
    rounds.unlink()
    given_up = await terminal.type("edit", id, "--reason", "x", answering="n\n")
    assert given_up.exit_code == 2
    assert kept_in(flat(given_up)) == "{\n"


async def test_what_a_person_wrote_is_kept_unless_it_was_taken(
    terminal: Terminal, quiet_inventory: Bug, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [id] = await terminal.letters()
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(drafts))
    words = ("edit", id, "--reason", "x")
    for editor, answer, told in (("true", "", "nothing would change"), ("false", "n\n", "ended with exit code 1")):
        monkeypatch.setenv("EDITOR", editor)
        assert told in flat(await terminal.type(*words, answering=answer))
        assert list(drafts.iterdir()) == []
    monkeypatch.setenv("EDITOR", 'sed -i \'s/"quantity": 1/"quantity": 7/\'')
    declined = await terminal.type(*words, answering="n\n")
    [draft] = drafts.iterdir()
    assert (declined.exit_code, f"what you wrote is kept in {draft}" in flat(declined), "7" in draft.read_text()) == (1, True, True)
    draft.unlink()
    assert (await terminal.type(*words, answering="y\n")).exit_code == 0
    assert list(drafts.iterdir()) == []


async def test_an_export_says_what_it_leaves_out_and_how_to_see_it(terminal: Terminal, tmp_path: Path) -> None:
    await terminal.letters(2)
    exchange = await terminal.desk.stage.client.get_exchange(dead_letter_address(QUEUE).exchange, ensure=False)
    headers = headers_of(reserve(terminal.tenant), KeyError("x"), QUEUE, "inventory", 1, uuid4())
    await exchange.publish(aio_pika.Message(b"[{", headers=dict(headers), message_id=str(uuid4())), QUEUE)

    async def is_there() -> bool:
        return (await terminal.states()).get("DEAD") == 3

    await until(is_there, lambda: "the letter was not taken in")
    exported = await terminal.type("export", "--tenant", terminal.tenant, "--to", tmp_path / "letters.ndjson")
    assert "2 letters in" in exported.output
    assert "1 letter left out" in exported.output
    _, look = next_commands(exported.output)
    assert json.loads((await oaas(*look, "--json")).stdout)["letters"][0]["is_readable"] is False
    whole = await terminal.type("export", "--tenant", terminal.tenant, "--readable", "--to", tmp_path / "again.ndjson", "--json")
    assert (json.loads(whole.stdout)["letters"], json.loads(whole.stdout)["unreadable"]) == (2, 0)


def kept_in(output: str) -> str:
    """What the file says that the draft was left in; it is taken away."""
    kept = Path(output.split("is kept in ")[1].split()[0])
    content = kept.read_text()
    kept.unlink()
    return content


async def test_edit_from_a_file_and_what_the_contract_refuses(terminal: Terminal, quiet_inventory: Bug, tmp_path: Path) -> None:
    [id] = await terminal.letters()
    data = json.loads((await terminal.type("show", id, "--json")).stdout)["body"]["data"]
    file = tmp_path / "mended.json"
    file.write_text(json.dumps({**data, "lines": [{"sku": "APPLE", "quantity": -1}]}))
    wrong = await terminal.type("edit", id, "--file", file, "--reason", "x", "--yes")
    assert (wrong.exit_code, "lines[0].quantity" in flat(wrong)) == (2, True), wrong.output
    file.write_text(json.dumps({**data, "lines": [{"sku": "APPLE", "quantity": 2}]}))
    edited = await terminal.type("edit", id, "--file", file, "--reason", "x", "--yes", "--json")
    assert (edited.exit_code, json.loads(edited.stdout)["revision"]) == (0, 1), edited.output


async def test_what_was_handled_is_not_edited_and_says_why(terminal: Terminal, quiet_inventory: Bug) -> None:
    envelope = reserve(terminal.tenant)
    await terminal.desk.stage.publish(COMMANDS, envelope)

    async def is_handled() -> bool:
        return envelope.id in await terminal.desk.handled(terminal.tenant)

    await until(is_handled, lambda: "it was not handled")
    [id] = await terminal.letters(said=[envelope])
    refused = await terminal.type("edit", id, "--set", "lines[0].quantity=2", "--reason", "x", "--yes")
    assert (refused.exit_code, "handled" in flat(refused)) == (1, True), refused.output


async def test_many_are_mended_in_a_file(terminal: Terminal, quiet_inventory: Bug, tmp_path: Path) -> None:
    await terminal.letters(3)
    file = tmp_path / "letters.ndjson"
    exported = await terminal.type("export", "--tenant", terminal.tenant, "--to", file)
    assert (exported.exit_code, "3 letters in" in exported.output) == (0, True), exported.output
    assert (await terminal.type("export", "--tenant", terminal.tenant, "--to", file)).exit_code == 2
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["data"]["lines"][0]["quantity"] = 9
    lines[1]["data"]["lines"][0]["quantity"] = -9
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no line\n")
    [preview] = next_commands(exported.output)
    previewed = await oaas(*preview)
    assert (previewed.exit_code, "+ lines[0].quantity = 9" in previewed.output) == (1, True), previewed.output
    for told in ("1 letters would change, 1 stay as they are, 2 lines refused", "line 2: ", "line 4: is no JSON"):
        assert told in previewed.output
    imported = await terminal.type("import", file, "--reason", "ticket 4711", answering="y\n")
    assert (imported.exit_code, "1 letters changed" in imported.output) == (1, True), imported.output
    again = await terminal.type("import", file, "--reason", "ticket 4711", "--json", "--yes")
    assert json.loads(again.stdout)["unchanged"] == 2


async def test_a_long_import_goes_in_parts_and_numbers_its_lines_throughout(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "letters.ndjson"
    file.write_text("".join(f"no line {number}\n" for number in range(1, 1_204)))
    imported = await terminal.type("import", file, "--reason", "x", "--json", "--yes")
    assert imported.exit_code == 1
    assert [one["line"] for one in json.loads(imported.stdout)["refused"]] == list(range(1, 1_204))


@pytest.mark.parametrize(
    ("change", "told"),
    [("quantity", "write field=value"), ("lines[9].quantity=1", "there is no such field"), ("a..b=1", "write field=value")],
)
async def test_a_field_that_is_not_there_is_named(terminal: Terminal, change: str, told: str) -> None:
    [id] = await terminal.letters()
    failed = await terminal.type("edit", id, "--set", change, "--reason", "x", "--dry-run")
    assert (failed.exit_code, told in flat(failed), change in flat(failed)) == (2, True, True), failed.output


async def test_without_an_editor_it_says_what_to_do(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    [id] = await terminal.letters()
    monkeypatch.setenv("EDITOR", "/no/such/editor")
    failed = await terminal.type("edit", id, "--reason", "x", answering="n\n")
    assert (failed.exit_code, "set EDITOR, or use --set or --file" in flat(failed)) == (2, True), failed.output
