"""What a person types: it teaches, tells a mistake in one line, and its exit code means something."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from infra.cli.letters.commands import letters_app
from infra.cli.main import app

COMMANDS = ("up", "demo", "migrate", "worker", "api", "token", "check", "settings", "contracts", "saga")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("OAAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OAAS_HOME", str(tmp_path / "home"))


def oaas(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = oaas(command, "--help")
    assert (shown.exit_code, "Usage" in shown.output) == (0, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["worker", "nonsense"], "there is no service 'nonsense'"),
        (["api", "nonsense"], "there is no service 'nonsense'"),
        (["migrate"], "OAAS_POSTGRES_URL is not set"),
        (["worker", "inventory"], "OAAS_RABBITMQ_URL is not set"),
        (["saga", "draw", "nonsense"], "there is no saga 'nonsense'"),
        (["check", "nonsense"], "there is no check 'nonsense'"),
        (["token", "--scope", ""], "a token without a scope"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(words: list[str], told: str) -> None:
    failed = oaas(*words)
    assert failed.exit_code == 2
    assert told in " ".join(failed.output.split())
    assert "Traceback" not in failed.output


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (["check", "nonsense"], "mistake", "there is no check"),
        (["token"], "mistake", "--scope is missing: what it may do"),
        (["dead-letters", "show", "abc"], "mistake", "LETTER must be a UUID"),
        (["dead-letters", "list", "--limit", "900"], "mistake", "--limit must be at most 200"),
        (["dead-letters", "lst"], "mistake", "Did you mean 'list'?"),
        (["dead-letters", "archive", "--queue", "x"], "mistake", "--reason is missing: say why"),
        (["dead-letters", "groups"], "mistake", "no platform runs in this home"),
        (["saga", "pause", "x", "--reason", ""], "mistake", "--reason is missing: say why"),
        (["reconcile", "mend", "x", "--tenant", "x"], "mistake", "--reason is missing: say why"),
    ],
)
def test_with_json_a_mistake_is_one_document_on_standard_error(words: list[str], kind: str, told: str) -> None:
    failed = oaas(*words, "--json")
    assert (failed.exit_code, failed.stdout) == (2, ""), failed.output
    error = json.loads(failed.stderr)["error"]
    assert (error["kind"], error["exit_code"], told in error["message"]) == (kind, 2, True), error


def test_what_is_wrong_is_marked_wrong_and_its_command_is_not_broken() -> None:
    checked = oaas("check", "settings")
    assert "wrong settings   OAAS_POSTGRES_URL is not set  →  oaas up\n" in checked.stdout
    assert "missing" not in checked.stdout


def test_a_wrong_setting_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAAS_API_PORT", "abc")
    failed = oaas("settings")
    assert (failed.exit_code, "OAAS_API_PORT" in failed.output) == (2, True)


def test_check_with_nothing_set_still_reports_everything_with_its_mend() -> None:
    checked = oaas("check", "--json")
    assert checked.exit_code == 1
    findings = json.loads(checked.stdout)
    assert {finding["check"] for finding in findings} == {"settings", "postgres", "schemas", "rls", "rabbitmq", "topology"}
    assert [finding for finding in findings if not finding["ok"] and not finding["mend"]] == []


def test_settings_are_listed_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAAS_POSTGRES_URL", "postgresql://admin:hush@127.0.0.1/oaas")
    monkeypatch.setenv("OAAS_ROLE_SECRET", "hush-too")
    listed = oaas("settings", "--json")
    assert "hush" not in listed.stdout
    assert all(setting["description"] for setting in json.loads(listed.stdout))


def test_the_saga_is_drawn() -> None:
    assert "reserve-stock" in oaas("saga", "draw", "place-order").stdout


def test_a_worker_that_waits_for_its_broker_stops_when_told(tmp_path: Path) -> None:
    environment = {**os.environ, "OAAS_RABBITMQ_URL": "amqp://127.0.0.1:1/", "OAAS_POSTGRES_URL": "postgresql://127.0.0.1:1/oaas"}
    command = [sys.executable, "-m", "infra.cli", "worker", "inventory"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as waiting:
        assert waiting.stdout is not None
        assert "does not answer yet" in waiting.stdout.readline()
        waiting.send_signal(signal.SIGTERM)
        waiting.stdout.read()
        assert waiting.wait(timeout=10) == 0


@pytest.mark.parametrize("command", sorted(str(name) for name in get_command(letters_app).commands))  # type: ignore[attr-defined]  # a group
def test_every_command_teaches_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(letters_app, [command, "--help"])
    assert (shown.exit_code, f"oaas dead-letters {command}" in " ".join(shown.output.split())) == (0, True), shown.output
