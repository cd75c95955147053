"""The end of a log file, for error messages."""

from pathlib import Path
from typing import Final

_BYTES_MAX: Final = 16_384


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, under its path; says so if there is none."""
    if not log.exists():
        return f"(no log at {log})"
    with log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - _BYTES_MAX))
        text = source.read().decode(errors="replace")
    return "\n".join([f"{log}:", *text.splitlines()[-lines:]])
