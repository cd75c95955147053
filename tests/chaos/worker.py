"""A process that is killed again and again, and comes back: `python -m tests.chaos.worker PROCESS KILLS JOURNAL`.

It imports the platform once and forks; the fork is the real worker or the real API, started as `oaas worker` and `oaas api` start them,
on connections of its own. Before it works, a life is assigned the next kill of the file KILLS; the next life begins as soon as it is dead.
An assignment that a life did not meet, because it died of something else or nothing of the kind came by in time, is given to a later one.

    SIGTERM     the life is stopped cleanly, and no other begins
    SIGUSR1     the life is killed wherever it is
    SIGUSR2     nothing is assigned any more
"""

import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import uvloop

from infra import crash
from infra.serve import serve
from infra.services import load
from infra.settings import Settings
from infra.telemetry import configure
from infra.worker import Worker
from tests.chaos.journal import BORN, ENDED, KILLED, STABBED, entries, note
from tests.chaos.plan import API, PROCESSES

_LOOK_EVERY_S: Final = 0.02
_PATIENCE_S: Final = 12.0
"""How long an armed life is given to meet its assignment; then it is armed with another one."""
_TOLD: Final = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_BORN_DEAD_S: Final = 0.5
"""A life that ended by itself sooner than this could not even start: the next one is not hurried."""


class Nursery:
    """Brings up one life after the other."""

    def __init__(self, process: str, kills: Path, journal: Path) -> None:
        self._process = process
        self._journal = journal
        self._ready = Path(os.environ["OAAS_READY_FILE"])
        self._kills: deque[dict[str, Any]] = deque(json.loads(kills.read_text()))
        self._life = 0
        self._leaving = False
        self._is_spared = False

    def run(self) -> None:
        """Until SIGTERM."""
        _import_all(self._process)
        signal.signal(signal.SIGTERM, self._leave)
        signal.signal(signal.SIGUSR1, self._stab)
        signal.signal(signal.SIGUSR2, self._spare)
        while not self._leaving:
            began = time.monotonic()
            word = self._bear()
            killed = self._accompany(word)
            os.close(word)
            if not killed and not self._leaving and time.monotonic() - began < _BORN_DEAD_S:
                time.sleep(_BORN_DEAD_S)

    def _leave(self, *_: object) -> None:
        self._leaving = True
        if self._life:
            os.kill(self._life, signal.SIGTERM)

    def _stab(self, *_: object) -> None:
        if self._life:
            note(self._journal, STABBED, self._life)
            os.kill(self._life, signal.SIGKILL)

    def _spare(self, *_: object) -> None:
        self._kills.clear()
        self._is_spared = True

    def _bear(self) -> int:
        """Fork; returns the end of a pipe on which the life listens for assignments, and whose closing ends it."""
        heard, word = os.pipe()
        self._ready.unlink(missing_ok=True)
        # No signal between the fork and knowing whom to send it on to.
        signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
        self._life = os.fork()
        if not self._life:
            os.close(word)
            for number in _TOLD:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
            live(self._process, heard, self._journal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
        os.close(heard)
        note(self._journal, BORN, self._life)
        return word

    def _accompany(self, word: int) -> bool:
        """Arm the life and wait for its end; says whether a signal ended it."""
        kill: dict[str, Any] | None = None
        arm_at = armed_at = 0.0
        while True:
            pid, status = os.waitpid(self._life, os.WNOHANG)
            if pid:
                break
            now = time.monotonic()
            if kill is not None and (self._is_spared or (armed_at and now - armed_at > _PATIENCE_S)):
                os.write(word, b"null\n")
                self._kills.extend([] if self._is_spared else [kill])
                kill, arm_at, armed_at = None, 0.0, 0.0
            if kill is None and self._kills and self._ready.exists():
                kill = self._kills.popleft()
                arm_at = now + kill["after_s"]
            if kill is not None and not armed_at and now >= arm_at:
                os.write(word, (json.dumps(kill) + "\n").encode())
                armed_at = now
            time.sleep(_LOOK_EVERY_S)
        ended, self._life = self._life, 0
        note(self._journal, ENDED, ended)
        if kill is not None and not any(entry.kill == kill["id"] for entry in entries(self._journal)):
            self._kills.append(kill)
        return os.WIFSIGNALED(status)


def _import_all(process: str) -> None:
    """What a life would import, so that it need not."""
    for service in load([] if process == API else [PROCESSES[process]]):
        for module in (service.api, service.operators) if process == API else ():
            if module is not None:
                import_module(module)
    gc.freeze()


def live(process: str, heard: int, journal: Path) -> None:
    """Be the process, until it ends; never returns."""
    code = 1
    try:
        threading.Thread(target=_obey, args=(PROCESSES[process], heard, journal), daemon=True).start()
        settings = Settings()
        configure(process, settings)
        if process == API:
            ready = settings.ready_file
            assert ready is not None
            threading.Thread(target=_announce, args=(settings.api_host, settings.api_port, ready), daemon=True).start()
            uvloop.run(serve(load([]), settings))
        else:
            uvloop.run(Worker(load([PROCESSES[process]]), settings).run())
        code = 0
    finally:
        sys.stderr.flush()
        if code:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _obey(service: str, heard: int, journal: Path) -> None:
    """Arm what the nursery says; end when there is no nursery any more."""
    current: dict[str, Any] = {}
    is_it = crash._is_it

    def noting(*met: Any) -> bool:
        if not is_it(*met):
            return False
        note(journal, KILLED, os.getpid(), current["id"])
        return True

    crash._is_it = noting  # type: ignore[assignment]  # it has the one caller, and passes on what it is called with
    with os.fdopen(heard) as words:
        for line in words:
            # First of all, so that a death is not noted as that of the next assignment.
            crash.disarm()
            if (kill := json.loads(line)) is not None:
                current.update(kill)
                crash.arm(service, kill["point"], kill["kind"], kill["nth"])
    os._exit(1)


def _announce(host: str, port: int, ready: Path) -> None:
    """Write the ready file that a worker writes itself, once the API listens."""
    while True:
        try:
            socket.create_connection((host, port), 1).close()
            break
        except OSError:
            time.sleep(_LOOK_EVERY_S)
    ready.write_text("ready\n")


if __name__ == "__main__":
    Nursery(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])).run()
