"""The platform's processes replaced by mortal ones (worker.py), and what becomes of their lives."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from contracts.addresses import COORDINATOR
from infra.dev.up import Platform, wait_until_api_ready
from infra.services import MODULES
from tests.chaos.journal import BORN, Entry, entries
from tests.chaos.plan import API, PROCESSES, Plan

READY_MAX_S: Final = 60.0


class Mortals:
    """The processes of a run by name."""

    def __init__(self, running: Platform, folder: Path) -> None:
        self._running = running
        self._folder = folder

    def stab(self, process: str) -> None:
        """Kill its life wherever it is."""
        self._tell(process, signal.SIGUSR1)

    def spare(self) -> None:
        """No life is killed any more, but by `stab`."""
        for process in PROCESSES:
            self._tell(process, signal.SIGUSR2)

    def pids(self) -> dict[str, int]:
        """The life of each process now, as far as it has one."""
        found = {process: [entry.pid for entry in self.entries(process) if entry.what == BORN] for process in PROCESSES}
        return {process: pids[-1] for process, pids in found.items() if pids}

    def entries(self, process: str) -> Iterator[Entry]:
        """What happened to its lives so far."""
        return entries(self._journal(process))

    def all_entries(self) -> list[Entry]:
        return [entry for process in PROCESSES for entry in self.entries(process)]

    def begin(self, plan: Plan, overrides: Mapping[str, str]) -> None:
        """Stop the platform's own processes and start mortal ones with the assignments of the plan."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        supervisor = self._running.supervisor
        for process in PROCESSES:
            kills = self._folder / f"{process}.kills"
            kills.write_text(json.dumps([kill.as_json() for kill in plan.kills_of(process)]))
            if process in (*MODULES, API):
                supervisor.stop(process)
            command = [sys.executable, "-m", "tests.chaos.worker", process, str(kills), str(self._journal(process))]
            supervisor.add(process, command, {**self._running.environment, **overrides})
        for process in PROCESSES:
            supervisor.wait_until_ready(process, READY_MAX_S)

    def end(self) -> None:
        """The platform runs as it did before."""
        supervisor = self._running.supervisor
        for process in PROCESSES:
            supervisor.stop(process)
        for service in MODULES:
            supervisor.add(service, [sys.executable, "-m", "infra.cli", "worker", service], self._running.environment)
        supervisor.add(API, [sys.executable, "-m", "infra.cli", "api"], self._running.environment)
        for service in MODULES:
            supervisor.wait_until_ready(service, READY_MAX_S)
        wait_until_api_ready(self._running)

    def _tell(self, process: str, number: signal.Signals) -> None:
        pid = self._running.supervisor.pid(process)
        if pid is not None:
            os.kill(pid, number)

    def _journal(self, process: str) -> Path:
        return self._folder / f"{process}.journal"


@asynccontextmanager
async def mortals(running: Platform, plan: Plan, overrides: Mapping[str, str], *, restore: bool) -> AsyncIterator[Mortals]:
    """Mortal processes until the end; `restore`: the platform's own ones after it."""
    assert COORDINATOR in PROCESSES
    made = Mortals(running, running.home / "chaos")
    await asyncio.to_thread(made.begin, plan, overrides)
    try:
        yield made
    finally:
        if restore:
            await asyncio.to_thread(made.end)
