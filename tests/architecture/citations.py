"""What the documents promise: places cited as `path::symbol`, the stops of an order, and decisions that something enforces."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.architecture.source import ROOT

STOPS: Final = 14
DECISION_LINES_MAX: Final = 12
_CITED: Final = re.compile(r"`([\w./-]+)::([\w.]+)`")
_PATH: Final = re.compile(r"`((?:contracts|docs|infra|sagas|services|tests)/[\w./-]+)`")
_LINE_NUMBER: Final = re.compile(r"`[\w./-]+\.\w+:\d+`")
_STOP: Final = re.compile(r"^(\d+)\. ", re.MULTILINE)
_DECISION: Final = re.compile(r"^## (\d+)\. (\S.*)$", re.MULTILINE)


def broken_citations(text: str) -> Iterator[str]:
    """Cited places that are not there, and citations by line number, which rot."""
    for path, symbol in _CITED.findall(text):
        file = ROOT / path
        if not file.is_file():
            yield f"{path}::{symbol}: there is no {path}"
        elif symbol not in (_symbols(file.read_text()) if file.suffix == ".py" else file.read_text()):
            yield f"{path}::{symbol}: {path} defines no {symbol}"
    for path in _PATH.findall(text):
        if not (ROOT / path).exists():
            yield f"{path}: there is no such file"
    for cited in _LINE_NUMBER.findall(text):
        yield f"{cited}: cite path::symbol, a line number is wrong tomorrow"


def section(text: str, title: str) -> str:
    """The part under a heading, up to the next heading of any level; empty if there is none."""
    found = re.search(rf"^#+ {re.escape(title)}[^\n]*\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def broken_journey(text: str) -> Iterator[str]:
    """What is wrong with "Follow one order": a numbered list of STOPS stops, each at a cited place."""
    _, *parts = _STOP.split(section(text, "Follow one order"))
    numbers, stops = [int(number) for number in parts[::2]], parts[1::2]
    if numbers != list(range(1, STOPS + 1)):
        yield f'"Follow one order" has the stops {numbers}, it should have 1 to {STOPS}'
    for number, stop in zip(numbers, stops, strict=True):
        if not _CITED.search(stop):
            yield f"stop {number} cites no `path::symbol`"


def broken_decisions(text: str) -> Iterator[str]:
    """What is wrong with the decisions: numbered `## N. title`, short, each ending with what enforces it."""
    _, *parts = _DECISION.split(text)
    numbers, bodies = [int(number) for number in parts[::3]], parts[2::3]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        yield f"decisions are numbered {numbers}, they should be 1, 2, 3, ..."
    for number, body in zip(numbers, bodies, strict=True):
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) > DECISION_LINES_MAX:
            yield f"decision {number} has {len(lines)} lines, {DECISION_LINES_MAX} are the most"
        if not lines or not re.match(r"\W*Enforced by\b.*`", lines[-1]):
            yield f"decision {number} does not end with a line: Enforced by: `the test or lint`"


def _symbols(text: str) -> set[str]:
    """Every name that a module defines, those inside classes with the class in front."""
    return set(_defined(ast.parse(text).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.ClassDef(name=name):
                yield prefix + name
                yield from _defined(node.body, f"{prefix}{name}.")
            case ast.Assign(targets=targets):
                yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name
