"""The platform's processes replaced by mortal ones (nursery.py), and what becomes of their lives."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from infra.dev.processes import NotReady
from infra.dev.up import Platform, wait_until_api_ready
from infra.services import MODULES
from tests.chaos.journal import BORN, Entry, Reader
from tests.chaos.nursery import SPARE
from tests.chaos.plan import API, PROCESSES, Plan

_NURSERY: Final = "nursery"
_READY_MAX_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.05


class Mortals:
    """The processes of a run by name."""

    def __init__(self, running: Platform, folder: Path) -> None:
        self._running = running
        self._folder = folder
        self._readers: dict[str, Reader] = {}

    def stab(self, process: str) -> None:
        """Kill its life wherever it is."""
        (self._folder / f"{process}.stab").touch()

    def spare(self) -> None:
        """No life is killed any more, but by `stab`."""
        (self._folder / SPARE).touch()

    def pids(self) -> dict[str, int]:
        """The life of each process now, as far as it has one."""
        born = {process: next((one.pid for one in reversed(self._of(process)) if one.what == BORN), None) for process in PROCESSES}
        return {process: pid for process, pid in born.items() if pid is not None}

    def entries(self) -> list[Entry]:
        """What happened to all lives so far."""
        return [entry for process in PROCESSES for entry in self._of(process)]

    def _of(self, process: str) -> Sequence[Entry]:
        return self._readers.setdefault(process, Reader(self._folder / f"{process}.journal")).entries()

    def begin(self, plan: Plan, overrides: Mapping[str, str]) -> None:
        """Stop the platform's own processes and start mortal ones with the assignments of the plan."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for process in PROCESSES:
            assigned = [kill.as_json() for kill in plan.kills_of(process)]
            (self._folder / f"{process}.kills").write_text(json.dumps(assigned))
        supervisor = self._running.supervisor
        with ThreadPoolExecutor() as stoppers:
            list(stoppers.map(supervisor.stop, (*MODULES, API)))
        command = [sys.executable, "-m", "tests.chaos.nursery", str(self._folder)]
        supervisor.add(_NURSERY, command, {**self._running.environment, **overrides})
        self._wait_until_ready()

    def end(self) -> None:
        """The platform runs as it did before."""
        supervisor, environment = self._running.supervisor, self._running.environment
        supervisor.stop(_NURSERY)
        for service in MODULES:
            supervisor.add(service, [sys.executable, "-m", "infra.cli", "worker", service], environment)
        supervisor.add(API, [sys.executable, "-m", "infra.cli", "api"], environment)
        for service in MODULES:
            supervisor.wait_until_ready(service, _READY_MAX_S)
        wait_until_api_ready(self._running)

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _READY_MAX_S
        while not all((self._folder / f"{process}.ready").exists() for process in PROCESSES):
            if time.monotonic() > until:
                raise NotReady(f"no mortal processes within {_READY_MAX_S:.0f} s.\n{self._running.supervisor.log_tail(_NURSERY)}")
            time.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def mortals(running: Platform, plan: Plan, overrides: Mapping[str, str], *, restore: bool) -> AsyncIterator[Mortals]:
    """Mortal processes until the end; `restore`: the platform's own ones after it."""
    made = Mortals(running, running.home / "chaos")
    await asyncio.to_thread(made.begin, plan, overrides)
    try:
        yield made
    finally:
        if restore:
            await asyncio.to_thread(made.end)
