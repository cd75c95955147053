"""A person edits JSON: in an editor, by naming fields, or in a file. What was written is never lost."""

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from infra.cli.files import contents, require_place, unusable
from infra.cli.plainly import ERRORS
from infra.errors import Misconfigured, in_words

_PART: Final = re.compile(r"(?P<name>[^.\[\]=]+)|\[(?P<index>[0-9]{1,6})\]")
_PATH: Final = re.compile(r"[^.\[\]=]+(?:\.[^.\[\]=]+|\[[0-9]{1,6}\])*")


class Draft:
    """The data as text in a file of its own: gone once it is taken; else what a person wrote stays, and they are told where."""

    def __init__(self, data: Any) -> None:
        descriptor, name = tempfile.mkstemp(prefix="letter-", suffix=".json")
        self._path = Path(name)
        self._is_told = False
        self._before = (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._before)

    def edited(self) -> dict[str, Any]:
        """What it says after the editor was closed; raises ValueError if it is no JSON object, Misconfigured without an editor."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            done = subprocess.run([*shlex.split(editor), str(self._path)], check=False)
        except (OSError, ValueError) as error:
            raise Misconfigured(
                f"the editor {editor!r} cannot be started ({in_words(error)}): set EDITOR, or use --set or --file"
            ) from None
        if done.returncode:
            raise Misconfigured(f"the editor {editor!r} ended with exit code {done.returncode}; nothing was changed")
        return read_data("what you wrote", self._path)

    def kept(self) -> str:
        """The end of a sentence: where what a person wrote is kept; nothing if they wrote nothing."""
        self._is_told = True
        return f". What you wrote is kept in {self._path}" if self._is_written else ""

    @property
    def _is_written(self) -> bool:
        return self._path.is_file() and self._path.read_bytes() != self._before

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or not self._is_written:
            self._path.unlink(missing_ok=True)
        elif not self._is_told:
            # The answer was no, or Ctrl-C: a person is there to read it.
            ERRORS.print(f"what you wrote is kept in {self._path}", highlight=False, markup=False, soft_wrap=True)


def read_data(word: str, file: Path) -> dict[str, Any]:
    """The JSON object in the file that this word named; raises ValueError saying where it is none, Misconfigured if there is no file."""
    try:
        data = json.loads(contents(word, file).decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{word}: {file} is no UTF-8 text from byte {error.start} on: save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{word}: {file} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{word}: {file} must hold a JSON object, all of the letter's data")
    return data


def lines_of(word: str, file: Path) -> list[bytes]:
    """The lines of the file that this word named; raises ValueError naming the first that is no text, Misconfigured if there is no file."""
    lines = contents(word, file).split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{word}: line {number} of {file} is no UTF-8 text: save it as UTF-8") from None
    return lines


def changed_with(data: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The data with each `field=value`; raises ValueError naming the change that cannot be made. A value that is no JSON is text."""
    changed = deepcopy(data)
    for change in changes:
        path, equals, written = change.partition("=")
        if not equals or not _PATH.fullmatch(path.strip()):
            raise ValueError(f"--set {change!r}: write field=value, such as lines[0].quantity=2 or name=Apples")
        *way, last = [int(part["index"]) if part["index"] else part["name"] for part in _PART.finditer(path.strip())]
        try:
            place: Any = changed
            for part in way:
                place = place[part]
            if isinstance(last, int):
                place[last]
            place[last] = _value(written)
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"--set {change!r}: there is no such field; `oaas dead-letters show` has what there is") from None
    return changed


@contextmanager
def written_whole(word: str, to: Path) -> Iterator[IO[bytes]]:
    """A new file that is there when it is whole, readable for its owner only; raises Misconfigured if it is there already."""
    require_place(word, to)
    there_already = Misconfigured(f"{word}: {to} is there already: name another file")
    if to.exists():
        raise there_already
    fresh = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
        os.link(fresh, to)
    except FileExistsError:
        raise there_already from None
    except OSError as error:
        raise unusable(word, to, error) from None
    finally:
        fresh.unlink(missing_ok=True)


def _value(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return written
