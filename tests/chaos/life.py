"""One life of one process: the real worker or the real API, started as `oaas worker` and `oaas api` start them, and armed to die.

It is told what to die of on a pipe, line by line. Right before it dies it says so in its journal; SIGKILL lets it say nothing after.
"""

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import uvloop

from infra import crash
from infra.http.serve import serve
from infra.services import load
from infra.settings import Settings
from infra.telemetry import configure
from infra.worker import Worker
from tests.chaos.journal import KILLED, note
from tests.chaos.mutants import MUTANTS, VARIABLE
from tests.chaos.plan import API, PROCESSES

_LOOK_EVERY_S: Final = 0.02


def live(process: str, heard: int, folder: Path) -> None:
    """Be the process, until it ends; never returns."""
    code = 1
    try:
        _write_to(folder.parent / "logs" / f"{process}.log")
        threading.Thread(target=_obey, args=(PROCESSES[process], heard, folder / f"{process}.journal"), daemon=True).start()
        if mutant := os.environ.get(VARIABLE):
            MUTANTS[mutant]()
        ready = folder / f"{process}.ready"
        settings = Settings(ready_file=ready)
        configure(process, settings)
        if process == API:
            threading.Thread(target=_announce, args=(settings.api_host, settings.api_port, ready), daemon=True).start()
            uvloop.run(serve(load([]), settings))
        else:
            uvloop.run(Worker(load([PROCESSES[process]]), settings).run())
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(code)


def _write_to(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)


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
