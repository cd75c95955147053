"""A flame graph of each process while something runs, by py-spy, which looks from outside and costs the process nothing."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGINT
from typing import Final

from infra.dev.up import Say
from infra.errors import Misconfigured
from tests.bench.ours import Ours
from tests.bench.workload import Workload

_PER_SECOND: Final = 200


@asynccontextmanager
async def profiled(folder: Path | None, pids: Mapping[str, int]) -> AsyncIterator[None]:
    """Write `<folder>/<name>.svg` of each process; nothing without a folder. Raises Misconfigured if py-spy is not installed."""
    if folder is None:
        yield
        return
    spy = shutil.which("py-spy") or shutil.which(Path(__file__).parents[2] / ".venv" / "bin" / "py-spy")
    if spy is None:
        raise Misconfigured("--profile needs py-spy: .venv/bin/python -m pip install py-spy, or `uv pip install py-spy`")
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    spies = [
        await asyncio.create_subprocess_exec(
            *(spy, "record", "--pid", str(pid), "--rate", str(_PER_SECOND), "--output", str(folder / f"{name}.svg")),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for name, pid in pids.items()
    ]
    try:
        yield
    finally:
        for one in spies:
            if one.returncode is None:
                one.send_signal(SIGINT)
        await asyncio.gather(*(one.wait() for one in spies))


async def profile_ours(how: Ours, workload: Workload, orders: int, folder: Path, say: Say) -> None:
    """So many orders as fast as it goes, with a flame graph of each process."""
    home = Path(tempfile.mkdtemp(prefix="oaas-bench-"))
    try:
        async with how.running(home, workload, say) as driver, profiled(folder, driver.stack.pids()):
            run = await driver.capacity(orders)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    say(f"{run.per_second:.0f}/s while it was watched; the graphs are in {folder}")
