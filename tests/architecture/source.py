"""Finds the project's own files. Whoever looks for files and finds none is told so: an empty search proves nothing."""

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("contracts", "infra", "sagas", "services")


class NothingFound(AssertionError):
    """A search found no file: its pattern is wrong, or what it looks for is gone."""


@dataclass(frozen=True)
class Module:
    """A Python file; `name` is its path from the root, with slashes."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def modules(*patterns: str) -> list[Module]:
    """Every Python file that matches one of the patterns, by default those of all packages; raises NothingFound."""
    found = [path for pattern in patterns or [f"{package}/**/*.py" for package in PACKAGES] for path in _matching(pattern)]
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text()) for path in found]


def document(name: str) -> str:
    """The text of a file at the root; raises NothingFound."""
    path = ROOT / name
    if not path.is_file():
        raise NothingFound(f"{name} is missing: write it")
    return path.read_text()


def tracked() -> list[Path]:
    """Every file of the repository that is there; raises NothingFound."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    found = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    if not found:
        raise NothingFound("git lists no files")
    return found


def _matching(pattern: str) -> list[Path]:
    found = sorted(ROOT.glob(pattern))
    if not found:
        raise NothingFound(f"no file matches {pattern}")
    return found
