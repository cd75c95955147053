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

from infra.errors import Misconfigured

_PART: Final = re.compile(r"(?P<name>[^.\[\]=]+)|\[(?P<index>[0-9]{1,6})\]")
_PATH: Final = re.compile(r"[^.\[\]=]+(?:\.[^.\[\]=]+|\[[0-9]{1,6}\])*")


class Draft:
    """The data as text in a file of its own, which is gone afterwards unless it was kept."""

    def __init__(self, data: Any) -> None:
        descriptor, name = tempfile.mkstemp(prefix="letter-", suffix=".json")
        self._path = Path(name)
        self._is_kept = False
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def edited(self) -> dict[str, Any]:
        """What it says after the editor was closed; raises ValueError if it is no JSON object, Misconfigured without an editor."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            done = subprocess.run([*shlex.split(editor), str(self._path)], check=False)
        except (OSError, ValueError) as error:
            raise Misconfigured(f"the editor {editor!r} cannot be started ({error}): set EDITOR, or use --set or --file") from None
        if done.returncode:
            raise Misconfigured(f"the editor {editor!r} ended with exit code {done.returncode}; nothing was changed")
        return read_data(self._path)

    def kept(self) -> Path:
        """Where it stays."""
        self._is_kept = True
        return self._path

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._is_kept:
            self._path.unlink(missing_ok=True)


def read_data(file: Path) -> dict[str, Any]:
    """The JSON object in the file; raises ValueError saying where it is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{file} must hold a JSON object, all of the letter's data")
    return data


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
def written_whole(to: Path) -> Iterator[IO[bytes]]:
    """A new file that is there when it is whole, readable for its owner only; raises Misconfigured if it is there already."""
    if to.exists():
        raise Misconfigured(f"{to} is there already: name another file")
    fresh = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with open(fresh, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
        os.link(fresh, to)
    except FileExistsError:
        raise Misconfigured(f"{to} is there already: name another file") from None
    except OSError as error:
        raise Misconfigured(f"{to} cannot be written: {error}") from None
    finally:
        fresh.unlink(missing_ok=True)


def _value(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return written
