"""Workers as processes of their own, on the servers of a test."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from infra.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
READY_MAX_S: Final = 60
END_MAX_S: Final = 30


class WorkerProcess:
    """One process; its log is a file."""

    def __init__(self, command: Sequence[str], settings: Settings, folder: Path, **overrides: str) -> None:
        name = str(uuid4())
        self._ready = folder / f"{name}.ready"
        self.log = folder / f"{name}.log"
        given = {
            "OAAS_POSTGRES_URL": settings.postgres_url,
            "OAAS_RABBITMQ_URL": settings.rabbitmq_url,
            "OAAS_RABBITMQ_MANAGEMENT_URL": settings.rabbitmq_management_url,
            "OAAS_ROLE_SECRET": settings.role_secret.get_secret_value(),
            "OAAS_HOME": str(folder),
            "OAAS_READY_FILE": str(self._ready),
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=given | overrides, stdout=log, stderr=subprocess.STDOUT)

    async def consumes(self) -> None:
        """Wait until it does; fails with its log if it ends."""
        async with asyncio.timeout(READY_MAX_S):
            while not self._ready.exists():
                assert self._process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.05)

    def cpu_s(self) -> float:
        """Processor time that it has used so far, seconds (Linux)."""
        user, system = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / 100

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it the signal and wait for its end; its exit code."""
        self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        return await asyncio.to_thread(self._process.wait, END_MAX_S)


@asynccontextmanager
async def worker_process(command: Sequence[str], settings: Settings, folder: Path, **overrides: str) -> AsyncIterator[WorkerProcess]:
    """The process, consuming; ended in any case."""
    process = WorkerProcess(command, settings, folder, **overrides)
    try:
        await process.consumes()
        yield process
    finally:
        await process.end()


def oaas_worker(*services: str) -> list[str]:
    """The command that a person types."""
    return [sys.executable, "-m", "infra.cli", "worker", *services]
