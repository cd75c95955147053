"""DBOS Transact: workflows in the application's own processes, each step recorded in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.bench.peers.driving import Driver
from tests.bench.peers.house import house
from tests.bench.peers.installing import Say, peers_python
from tests.bench.workload import Workload

NAME: Final = "DBOS"
_PROCESSES: Final = 2
_THREADS: Final = 8


@asynccontextmanager
async def dbos(home: Path, tools: Path, workload: Workload, say: Say) -> AsyncIterator[Driver]:
    """The application, running. `home`: an empty folder; `tools`: where it is or will be installed."""
    async with house(home, peers_python(tools, say), workload) as made:
        say(f"starting {NAME}: {_PROCESSES} processes of {_THREADS} threads")
        for number in range(_PROCESSES):
            part = f"worker {number}"
            environment = {"PEER_EXECUTOR": part, "PEER_THREADS": str(_THREADS)}
            made.start(part, [str(made.python), "-m", "tests.bench.peers.dbos_worker"], environment)
            # One after the other: the first makes DBOS's tables.
            made.wait_for(part)
        yield made.driver(NAME)
