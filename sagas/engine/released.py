"""What a released version of a saga means, and that it still does: sagas under way were begun with that meaning.

Step names, what is asked and undone, what refusals mean and in which order things happen are recorded as text. Times and retries
are not: they may be tuned. What differs from the record needs a new version beside the old one.
"""

import ast
import hashlib
import inspect
import json
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from infra.errors import Misconfigured
from sagas.engine.definition import Saga, Step
from sagas.engine.naming import Build

Outline = dict[str, Any]


class NotAsReleased(Misconfigured):
    """A saga that means something else than when its version was released, or that is not recorded yet."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" | ".join(problems))
        self.problems = problems


def require_released(sagas: Iterable[Saga[Any, Any]], record: Path) -> None:
    """Do nothing if each saga is what is recorded for its version; raises NotAsReleased with every difference."""
    recorded = json.loads(record.read_text(encoding="utf-8"))
    found = [problem for saga in sagas for problem in _problems(saga, recorded.get(saga.name, {}).get(str(saga.version)))]
    if found:
        raise NotAsReleased(found)


def record_new(sagas: Iterable[Saga[Any, Any]], record: Path) -> list[str]:
    """Record the versions that are not yet; returns their names. One that is recorded never changes."""
    recorded = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    new = []
    for saga in sagas:
        versions = recorded.setdefault(saga.name, {})
        if str(saga.version) not in versions:
            outlined = outline(saga)
            versions[str(saga.version)] = {"fingerprint": fingerprint(outlined), "outline": outlined}
            new.append(f"{saga.name} version {saga.version}")
    record.write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")
    return new


def outline(saga: Saga[Any, Any]) -> Outline:
    """The saga's meaning as text."""
    return {
        "started_by": saga.started_by.__name__,
        "steps": [[_step(step) for step in group] for group in saga.forward],
        "pivot": saga.pivot.name if saga.pivot else None,
        "abandon": text_of(saga.abandon),
        "reasons": {name: getattr(saga, name) for name in ("no_answer", "fault", "cancelled")},
    }


def fingerprint(outlined: Outline) -> str:
    return hashlib.sha256(json.dumps(outlined, sort_keys=True).encode()).hexdigest()[:16]


def text_of(build: Build | None) -> str | None:
    """The code of a lambda or function as Python writes it, whatever the layout of its source."""
    if build is None:
        return None
    found = [node for node in _functions(inspect.getsourcefile(build) or "") if _is_code_of(node, build)]
    assert found, f"{build} has no source"
    # A lambda inside another lies within both.
    body = max(found, key=lambda node: (node.lineno, node.col_offset)).body
    return "; ".join(map(ast.unparse, body)) if isinstance(body, list) else ast.unparse(body)


def _problems(saga: Saga[Any, Any], recorded: Outline | None) -> Iterator[str]:
    name = f"{saga.name} version {saga.version}"
    if recorded is None:
        yield f"{name} is not recorded: run `oaas saga record` and commit what it writes"
        return
    now = outline(saga)
    if {fingerprint(now), fingerprint(recorded["outline"])} != {recorded["fingerprint"]}:
        changed = "; ".join(_differences(recorded["outline"], now)) or "the record itself was edited"
        yield f"{name} is not as it was released: {changed}. Its sagas under way began with that: add version {saga.version + 1} beside it"


def _differences(old: Outline, new: Outline) -> Iterator[str]:
    before, after = _steps(old), _steps(new)
    gone, added = [name for name in before if name not in after], [name for name in after if name not in before]
    for name in gone:
        # Whatever else it is, a step is known by its name: commands that are under way were numbered with it.
        same = next((other for other in added if after[other] == before[name]), None)
        yield f"step {name} is called {same} now" if same else f"step {name} is gone"
        added = [other for other in added if other != same]
    yield from (f"step {name} is new" for name in added)
    kept = {name: step for name, step in before.items() if name in after}
    for name, step in kept.items():
        yield from (
            f"{what} of step {name} was {step[what]!r}, is {after[name][what]!r}" for what in step if step[what] != after[name][what]
        )
    if (was := _order(old, kept)) != (now := _order(new, kept)):
        yield f"the order of steps was {was}, is {now}"
    for what in old.keys() - {"steps"}:
        # A pivot that is merely called otherwise has been told already.
        if old[what] != new[what] and (what != "pivot" or old[what] in after):
            yield f"{what} was {old[what]!r}, is {new[what]!r}"


def _steps(outlined: Outline) -> dict[str, Outline]:
    return {step["name"]: {what: step[what] for what in step if what != "name"} for group in outlined["steps"] for step in group}


def _order(outlined: Outline, names: Collection[str]) -> str:
    """The steps with these names in the order in which they are asked, `a + b > c`: a and b at once, then c."""
    groups = ([step["name"] for step in group if step["name"] in names] for group in outlined["steps"])
    return " > ".join(" + ".join(group) for group in groups if group)


def _step(step: Step[Any, Any]) -> Outline:
    return {
        "name": step.name,
        "ask": text_of(step.ask),
        "undo": text_of(step.undo),
        "when": text_of(step.when),
        "refusals": {refusal.__name__: meaning for refusal, meaning in step.refusals.items()},
        "no_answer": step.no_answer,
        "on_fault": step.on_fault,
    }


@lru_cache(maxsize=64)
def _functions(file: str) -> tuple[ast.Lambda | ast.FunctionDef, ...]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.Lambda | ast.FunctionDef))


def _is_code_of(node: ast.Lambda | ast.FunctionDef, build: Build) -> bool:
    code = build.__code__
    if isinstance(node, ast.FunctionDef):
        return node.name == code.co_name and node.lineno <= max(code.co_firstlineno, node.lineno) <= (node.end_lineno or 0)
    # Several lambdas may stand in one line: the one that all of the code's positions lie in.
    inside = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column]
    begin, end = (node.body.lineno, node.body.col_offset), (node.body.end_lineno or 0, node.body.end_col_offset or 0)
    return bool(inside) and all(begin <= position <= end for position in inside) and code.co_name == "<lambda>"
