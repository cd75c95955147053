"""Brings up the platform's processes to be killed, again and again: `python -m tests.chaos.nursery FOLDER`.

It imports the platform once and forks; each fork is the real worker or the real API (life.py) on connections of its own. What a process
is to die of stands in FOLDER/<process>.kills; each life is armed with the next of them, and the next life begins as soon as it is dead.
An assignment that a life did not meet, because it died of something else or nothing of the kind came by in time, is given to a later one.

    FOLDER/<process>.stab   appears: the life is killed wherever it is
    FOLDER/spare            appears: no more kills are assigned
    SIGTERM                 every life is stopped cleanly, and no other begins
"""

import gc
import json
import os
import signal
import sys
import time
from collections import deque
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from infra.services import load
from tests.chaos.journal import BORN, ENDED, STABBED, Reader, note
from tests.chaos.life import live
from tests.chaos.plan import PROCESSES

SPARE: Final = "spare"
_LOOK_EVERY_S: Final = 0.02
_PATIENCE_S: Final = 12.0
"""How long an armed life is given to meet its assignment; then it is armed with another one."""
_BORN_DEAD_S: Final = 0.5
"""A life that ended by itself sooner than this could not even start: the next one is not hurried."""


class Cradle:
    """One process: its lives, one after the other."""

    def __init__(self, process: str, folder: Path, words: set[int]) -> None:
        self._process = process
        self._words = words
        self._folder = folder
        self._journal = folder / f"{process}.journal"
        self._past = Reader(self._journal)
        self._ready = folder / f"{process}.ready"
        self._kills: deque[dict[str, Any]] = deque(json.loads((folder / f"{process}.kills").read_text()))
        self._pid = 0
        self._word = -1
        self._born_at = 0.0
        self._kill: dict[str, Any] | None = None
        self._arm_at = self._armed_at = 0.0
        self._not_before = 0.0

    def tend(self, *, is_spared: bool) -> None:
        """See that it lives, and that it dies of what it should."""
        now = time.monotonic()
        if not self._pid:
            if now >= self._not_before:
                self._bear(now)
            return
        if self._stabs():
            note(self._journal, STABBED, self._pid)
            os.kill(self._pid, signal.SIGKILL)
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._bury(now, status)
        else:
            self._arm(now, is_spared=is_spared)

    def leave(self) -> None:
        """Ask the life to end cleanly, and wait for it."""
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)

    def wait(self) -> None:
        if self._pid:
            os.waitpid(self._pid, 0)

    def _bear(self, now: float) -> None:
        heard, word = os.pipe()
        self._ready.unlink(missing_ok=True)
        # No signal to end may come to a life before it knows what that means: it would take it for its nursery's.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if not pid:
            # Those of its siblings too: whoever holds one keeps a life from noticing that the nursery is gone.
            for one in (word, *self._words):
                os.close(one)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            live(self._process, heard, self._folder)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.close(heard)
        self._words.add(word)
        self._pid, self._word, self._born_at = pid, word, now
        self._kill, self._armed_at = None, 0.0
        note(self._journal, BORN, pid)

    def _bury(self, now: float, status: int) -> None:
        note(self._journal, ENDED, self._pid)
        os.close(self._word)
        self._words.discard(self._word)
        self._pid = 0
        if self._kill is not None and not any(entry.kill == self._kill["id"] for entry in self._past.entries()):
            self._kills.append(self._kill)
        if not os.WIFSIGNALED(status) and now - self._born_at < _BORN_DEAD_S:
            self._not_before = now + _BORN_DEAD_S

    def _arm(self, now: float, *, is_spared: bool) -> None:
        if is_spared:
            self._kills.clear()
        if self._kill is not None and (is_spared or (self._armed_at and now - self._armed_at > _PATIENCE_S)):
            self._tell(None)
            self._kills.extend([] if is_spared else [self._kill])
            self._kill = None
        if self._kill is None and self._kills and self._ready.exists():
            self._kill, self._armed_at = self._kills.popleft(), 0.0
            self._arm_at = now + self._kill["after_s"]
        if self._kill is not None and not self._armed_at and now >= self._arm_at:
            self._tell(self._kill)
            self._armed_at = now

    def _tell(self, kill: dict[str, Any] | None) -> None:
        os.write(self._word, (json.dumps(kill) + "\n").encode())

    def _stabs(self) -> bool:
        asked = self._folder / f"{self._process}.stab"
        if not asked.exists():
            return False
        asked.unlink()
        return True


def main(folder: Path) -> None:
    """Until SIGTERM."""
    for service in load([]):
        for module in (service.api, service.operators):
            if module is not None:
                import_module(module)
    gc.freeze()
    # A life that ends while it is being told something is no reason to end.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    leaving: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: leaving.append(number))
    words: set[int] = set()
    cradles = [Cradle(process, folder, words) for process in PROCESSES]
    while not leaving:
        is_spared = (folder / SPARE).exists()
        for cradle in cradles:
            cradle.tend(is_spared=is_spared)
        time.sleep(_LOOK_EVERY_S)
    for cradle in cradles:
        cradle.leave()
    for cradle in cradles:
        cradle.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
