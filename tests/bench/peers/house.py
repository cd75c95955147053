"""A home for one peer: a PostgreSQL with the empty books, the counter that orders come from, and the peer's own processes."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from infra.dev.children import Child, Escalation, spawn
from infra.dev.logs import tail
from infra.dev.postgres import Postgres
from infra.errors import Misconfigured
from tests.bench.ends import note_when_commits_are
from tests.bench.peers import books
from tests.bench.peers.driving import Driver
from tests.bench.peers.taking import Counter
from tests.bench.workload import Workload

_ROOT: Final = Path(__file__).resolve().parents[3]
_KEPT: Final = ("PATH", "HOME", "LANG")
_STOP: Final[Escalation] = ((signal.SIGTERM, 5), (signal.SIGKILL, 5))
_READY: Final = "PEER_READY"
_READY_MAX_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.05


class NotReady(Misconfigured):
    """A peer's process did not get ready in time; the message ends with its log."""


class Died(Misconfigured):
    """A peer's process has ended while it was needed; the message ends with its log."""


@dataclass
class House:
    """What runs in it, by the part that its CPU is counted under."""

    home: Path
    python: Path
    postgres: Postgres
    counter: Counter
    administrator: asyncpg.Connection
    _parts: dict[str, int] = field(default_factory=dict)
    _children: dict[str, Child] = field(default_factory=dict)

    def parts(self) -> Mapping[str, int]:
        """The root process of each part; raises Died."""
        assert self.postgres.pid is not None
        for part, child in self._children.items():
            if not child.is_alive():
                raise Died(f"{part} has ended.\n{tail(self._log(part))}")
        return {"PostgreSQL": self.postgres.pid, **self._parts}

    def count(self, part: str, pid: int | None) -> None:
        """Count this process as well, which somebody else stops."""
        assert pid is not None, f"{part} does not run"
        self._parts[part] = pid

    def start(self, part: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process, without waiting. It finds the database, the orders and our modules in its environment."""
        given = {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(self.counter.environment)
        given |= {"PYTHONPATH": str(_ROOT), books.POSTGRES: self.postgres.url, _READY: str(self._ready(part))}
        log, pid_file = self._log(part), self.home / "run" / f"{part}.pid"
        self._children[part] = spawn(command, pid_file=pid_file, log=log, environment={**given, **(environment or {})})
        self._parts[part] = self._children[part].pid

    def wait_for(self, part: str, is_ready: Callable[[], bool] | None = None) -> None:
        """Wait until it is ready, by default until it has made the file that PEER_READY names; raises NotReady."""
        check, until = is_ready or self._ready(part).exists, time.monotonic() + _READY_MAX_S
        while not check():
            if time.monotonic() > until or not self._children[part].is_alive():
                raise NotReady(f"{part} was not ready within {_READY_MAX_S:.0f} s.\n{tail(self._log(part))}")
            time.sleep(_LOOK_EVERY_S)

    def stop(self) -> None:
        """Stop all processes that were started here, the last first, and what they leave behind."""
        for child in reversed(self._children.values()):
            child.stop(_STOP)
            with suppress(ProcessLookupError):
                # A child leads a session of its own, so this group is its descendants.
                os.killpg(child.pid, signal.SIGKILL)
        self._children.clear()

    def driver(self, name: str) -> Driver:
        """Who drives what has been started."""
        return Driver(name, self.counter, self.administrator, self.parts)

    def _ready(self, part: str) -> Path:
        return self.home / "run" / f"{part}.ready"

    def _log(self, part: str) -> Path:
        return self.home / "logs" / f"{part}.log"


@asynccontextmanager
async def house(home: Path, python: Path, workload: Workload) -> AsyncIterator[House]:
    """A house with the books filled and nothing else in it yet. `home`: an empty folder."""
    async with AsyncExitStack() as stack:
        await note_when_commits_are(home)
        postgres = Postgres(home)
        stack.callback(postgres.stop)
        postgres.start()
        administrator = await asyncpg.connect(postgres.url)
        stack.push_async_callback(administrator.close)
        await fill(administrator, workload)
        counter = Counter(home / "orders", workload)
        stack.callback(counter.close)
        made = House(home, python, postgres, counter, administrator)
        stack.callback(made.stop)
        yield made


async def fill(administrator: asyncpg.Connection, workload: Workload) -> None:
    """Make the books in an empty database, with stock and quota for all."""
    await administrator.execute(books.TABLES)
    await administrator.execute(books.STOCK, workload.tenants, workload.skus)
    await administrator.execute(books.QUOTAS, workload.tenants)
    await administrator.execute("VACUUM ANALYZE")
