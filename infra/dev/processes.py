"""The supervisor: the platform's own processes, each with its log, started again when they die without being asked to.

One thread watches; a process is reached by its name and stopped by its pid. A process that keeps dying is started ever more slowly
(bounded), and its log's end is what `wait_until_ready` reports.
"""

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from infra.dev.children import Child, Escalation, spawn, stop_leftover
from infra.dev.logs import tail
from infra.errors import Misconfigured

BACKOFF_S: Final = 0.5
BACKOFF_MAX_S: Final = 15.0
STEADY_S: Final = 30.0
"""A process that lived this long is started again after the first, shortest pause."""
_WATCH_S: Final = 0.1

_STOP: Final[Escalation] = ((signal.SIGTERM, 20), (signal.SIGKILL, 5))


class NotReady(Misconfigured):
    """A process did not become ready in time; the message ends with its log."""


@dataclass
class _Process:
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    pid_file: Path
    ready_file: Path
    wanted: bool = True
    child: Child | None = None
    began_at: float = 0.0
    deaths: int = 0
    restarts: int = 0
    start_at: float = field(default=0.0)


class Supervisor:
    """Processes by name. Its methods may be called from any thread; as a context manager it stops them all at the end."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._processes: dict[str, _Process] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop_all()

    def add(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process; its log is `<home>/logs/<name>.log`. One left over from an earlier run is stopped first."""
        pid_file, ready_file = (self._home / "run" / f"{name}.{kind}" for kind in ("pid", "ready"))
        stop_leftover(pid_file, _STOP)
        ready = {"OAAS_READY_FILE": str(ready_file)}
        process = _Process(command, {**environment, **ready}, self._home / "logs" / f"{name}.log", pid_file, ready_file)
        with self._lock:
            self._processes[name] = process
            self._spawn(process)
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
                self._watcher.start()

    def start(self, name: str) -> None:
        """Start a process that was stopped or killed; nothing happens if it runs."""
        with self._lock:
            process = self._processes[name]
            process.wanted = True
            if process.child is None or not process.child.is_alive():
                self._spawn(process)

    def stop(self, name: str) -> None:
        """Stop a process cleanly and leave it stopped."""
        child = self._unwant(name)
        if child is not None:
            child.stop(_STOP)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL, *, restart: bool = False) -> None:
        """Send a signal and wait for the end. It stays down until `start`, unless `restart`: then it is started as after any death."""
        with self._lock:
            child = self._processes[name].child if restart else self._unwant(name)
        if child is not None:
            child.stop(((number, _STOP[0][1]),))

    def pid(self, name: str) -> int | None:
        """The process id while it runs."""
        with self._lock:
            child = self._processes[name].child
            return child.pid if child is not None and child.is_alive() else None

    def restarts(self, name: str) -> int:
        """How often it was started again after an unexpected death."""
        return self._processes[name].restarts

    def is_ready(self, name: str) -> bool:
        """Whether it runs and has written its ready file since it was last started."""
        return self.pid(name) is not None and self._processes[name].ready_file.exists()

    def wait_until_ready(self, name: str, timeout: float = 30.0) -> None:
        """Wait for its ready file; raises NotReady after `timeout` seconds."""
        until = time.monotonic() + timeout
        while not self.is_ready(name):
            if time.monotonic() > until:
                raise NotReady(f"{name} was not ready within {timeout:.0f} s.\n{self.log_tail(name)}")
            time.sleep(_WATCH_S / 2)

    def log_tail(self, name: str) -> str:
        """The end of its log, for messages."""
        return tail(self._processes[name].log)

    def stop_all(self) -> None:
        """Stop every process: SIGTERM to all at once, SIGKILL to those still there after 20 s."""
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
        children = [child for name in self._processes if (child := self._unwant(name)) is not None]
        for child in children:
            if child.is_alive():
                child.process.send_signal(signal.SIGTERM)
        for child in children:
            child.stop(_STOP)

    def _unwant(self, name: str) -> Child | None:
        with self._lock:
            self._processes[name].wanted = False
            return self._processes[name].child

    def _spawn(self, process: _Process) -> None:
        process.ready_file.unlink(missing_ok=True)
        process.child = spawn(process.command, pid_file=process.pid_file, log=process.log, environment=process.environment)
        process.began_at, process.start_at = time.monotonic(), 0.0

    def _watch(self) -> None:
        while not self._ended.wait(_WATCH_S):
            with self._lock:
                for process in self._processes.values():
                    if process.wanted and process.child is not None and not process.child.is_alive():
                        self._revive(process)

    def _revive(self, process: _Process) -> None:
        now = time.monotonic()
        if process.start_at == 0.0:
            process.deaths = 1 if now - process.began_at > STEADY_S else process.deaths + 1
            process.start_at = now + min(BACKOFF_S * 2 ** (process.deaths - 1), BACKOFF_MAX_S)
        elif now >= process.start_at:
            process.restarts += 1
            self._spawn(process)
