"""This tree and another revision of it, in turn, each with this benchmark: only so can a few per cent be told from the weather."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from infra.errors import Misconfigured

_ROOT: Final = Path(__file__).resolve().parents[2]
_BENCH: Final = Path("tests/bench")
_FIGURES: Final = (("sagas/s", "per_second"), ("CPU-s per 1 000", "cpu_per_1000"))


def compare(revision: str, rounds: int, orders: int, in_flight: int, say: Callable[[str], None], *, as_json: bool) -> None:
    """Run both, `rounds` times in alternation, and print each figure's ratio with its spread. Raises Misconfigured."""
    with tempfile.TemporaryDirectory(prefix="oaas-compare-") as folder:
        other = Path(folder) / "tree"
        _git("worktree", "add", "--detach", "--quiet", str(other), revision)
        try:
            _copy_bench(other)
            runs: dict[str, list[dict[str, Any]]] = {"this tree": [], revision: []}
            for number in range(rounds):
                # Whoever is first in one round is second in the next: a machine that grows tired must not decide.
                for name, tree in sorted({"this tree": _ROOT, revision: other}.items(), reverse=number % 2 == 1):
                    say(f"round {number + 1} of {rounds}: {name}")
                    runs[name].append(_run(tree, orders, in_flight))
        finally:
            _git("worktree", "remove", "--force", str(other))
    sys.stdout.write(json.dumps(runs) + "\n" if as_json else _told(runs["this tree"], runs[revision], revision))


def _run(tree: Path, orders: int, in_flight: int) -> dict[str, Any]:
    words = ["--orders", str(orders), "--in-flight", str(in_flight), "--rounds", "1", "--seconds", "0", "--only-the-saga", "--json"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", _START.format(tree=str(tree)), *words], cwd=tree, stdout=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        raise Misconfigured(f"the benchmark failed in {tree}; a revision from before it had its present form cannot be compared")
    run: dict[str, Any] = json.loads(done.stdout)["oaas"]["capacity"][0]
    return run


# Not `python -m`: the environment's path may name a checkout, and the other tree must find its own modules.
_START: Final = "import sys; sys.path.insert(0, {tree!r}); from tests.bench.__main__ import app; app()"


def _copy_bench(tree: Path) -> None:
    done = subprocess.run(["cp", "-R", str(_ROOT / _BENCH) + "/.", str(tree / _BENCH)], check=False)
    if done.returncode != 0:
        raise Misconfigured(f"the benchmark cannot be copied to {tree}")


def _told(these: list[dict[str, Any]], others: list[dict[str, Any]], revision: str) -> str:
    lines = []
    for title, name in _FIGURES:
        ratios = [this[name] / other[name] for this, other in zip(these, others, strict=True)]
        median = [statistics.median(run[name] for run in runs) for runs in (these, others)]
        lines.append(
            f"{title}: {median[0]:.2f} here, {median[1]:.2f} at {revision}; ratio {statistics.median(ratios):.3f}"
            f" ({min(ratios):.3f} to {max(ratios):.3f})"
        )
    return "\n".join(lines) + "\n"


def _git(*words: str) -> None:
    done = subprocess.run(["git", "-C", str(_ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Misconfigured(f"--compare: git {words[0]} says: {done.stderr.strip()}")
