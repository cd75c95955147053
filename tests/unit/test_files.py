"""Every file that a person names: a mistake is one line that says by which word it was named and how to mend it, and nobody waits."""

import os
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from infra.cli.main import app
from infra.errors import in_words
from tests.integration.terminal import sit_down

ID: Final = str(uuid4())
READERS: Final = {
    "FILE": (("import", "--reason", "x", "--yes"), ("load",)),
    "--file": (("edit", ID, "--reason", "x", "--yes", "--file"),),
}
WRITERS: Final = (("export", "--to"), ("drain", "--to"))


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither API nor broker: what is wrong with a file is said before anybody is asked."""
    sit_down(monkeypatch, tmp_path / "home", OAAS_API_URL="http://127.0.0.1:1", OAAS_TOKEN="x", OAAS_RABBITMQ_URL="amqp://127.0.0.1:1/")


def refused(*words: str) -> str:
    result: Result = CliRunner().invoke(app, ["dead-letters", *words])
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.count("\n") == 1, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.mark.parametrize(("word", "command"), [(word, command) for word, commands in READERS.items() for command in commands])
def test_what_cannot_be_read_is_named_with_its_fix(word: str, command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    for name, told in (
        (".", "is a folder: name a file"),
        ("missing", "check its name"),
        ("empty", "is empty"),
        ("pipe", "a pipe or a device: name a file"),
        ("file/below", "name another file"),
        ("x" * 300, "name another file"),
    ):
        said = refused(*command, str(tmp_path / name))
        assert (f"error: {word}: " in said, told in said) == (True, True), said


@pytest.mark.parametrize("command", WRITERS)
def test_what_cannot_be_written_is_named_with_its_fix(command: tuple[str, ...], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    for name, told in (
        (".", "is a folder: name a file"),
        ("missing/file", "there is no folder"),
        ("pipe", "a pipe or a device: name a file"),
        ("file/below", "name another file"),
    ):
        said = refused(*command, str(tmp_path / name))
        assert ("error: --to: " in said, told in said) == (True, True), said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("import", "{file}", "--reason", "x", "--yes"), "FILE: line 2 of {file} is no UTF-8 text: save it as UTF-8"),
        (("edit", ID, "--reason", "x", "--yes", "--file", "{file}"), "--file: {file} is no UTF-8 text from byte 3 on: save it as UTF-8"),
    ],
)
def test_text_of_another_encoding_is_not_taken_for_what_it_may_mean(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    file = tmp_path / "latin"
    file.write_bytes(b"{}\n\xe9\n")
    assert told.format(file=file) in refused(*(word.format(file=file) for word in words))


def test_what_the_system_says_is_told_without_its_numbers() -> None:
    assert in_words(PermissionError(13, "Permission denied", "/x")) == "/x: Permission denied"
    assert in_words(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)")) == "Connect call failed ('127.0.0.1', 1)"
    assert in_words(TimeoutError()) == "TimeoutError"
