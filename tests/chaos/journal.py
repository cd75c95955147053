"""What happened to the lives of a process, one JSON line each, by whoever knows it first: a life about to die, or its nursery.

Times are of the machine's monotonic clock, which all processes share.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KILLED: Final = "killed"
"""A life has met what it was assigned; written by itself, right before."""
STABBED: Final = "stabbed"
"""The nursery has killed its life, because it was told to."""
BORN: Final = "born"
ENDED: Final = "ended"
"""A life is over, however."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `at` in seconds, `kill` the id of the assignment, if there was one."""

    what: str
    at: float
    pid: int
    kill: int | None = None


def note(file: Path, what: str, pid: int, kill: int | None = None) -> None:
    """Append an entry in one write: many processes may do so at once, and whoever dies next has written all of it or nothing."""
    line = json.dumps({"what": what, "at": time.monotonic(), "pid": pid, "kill": kill}) + "\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class Reader:
    """Reads a journal that grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0
        self._entries: list[Entry] = []

    def entries(self) -> Sequence[Entry]:
        """What was noted so far, oldest first."""
        if self._file.exists():
            with self._file.open("rb") as journal:
                journal.seek(self._read)
                added = journal.read()
            self._read += len(added)
            self._entries += [Entry(**json.loads(line)) for line in added.splitlines()]
        return self._entries
