"""`make test`: every check one after the other, and whether each passed. All run even if one fails; the tests run last.

The words after `verify.py` go to pytest.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BIN: Final = Path(sys.executable).parent

LINTS: Final[dict[str, list[str]]] = {
    "lint": [str(BIN / "ruff"), "check", "--quiet", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    "types": [str(BIN / "mypy"), "--strict", "--no-error-summary", "."],
    "imports": [str(BIN / "lint-imports")],
}


AT_ONCE: Final = ("-n", "4", "--no-loadscope-reorder")
"""Four processes, since most tests wait more than they work; tests/conftest.py says what stays together."""


def main(words: list[str]) -> int:
    """Run the lints, then the tests unless the words are `--lint-only`; 0 if everything passed."""
    failed = [name for name, command in LINTS.items() if not _passes(name, command)]
    if words == ["--lint-only"]:
        return 1 if failed else 0
    # Its output is not held back, and nothing is printed after its summary unless a lint failed.
    tests = subprocess.run([sys.executable, "-m", "pytest", *AT_ONCE, *words], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    if failed:
        sys.stderr.write(f"failed before the tests: {', '.join(failed)}\n")
    return tests.returncode or (1 if failed else 0)


def _passes(name: str, command: list[str]) -> bool:
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    verdict = "passed" if done.returncode == 0 else "FAILED"
    sys.stdout.write(f"{name:<8} {verdict} ({time.monotonic() - began:.1f} s)\n")
    if done.returncode != 0:
        sys.stdout.write(done.stdout + done.stderr)
    sys.stdout.flush()
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
