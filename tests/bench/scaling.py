"""How it grows: `python -m tests.bench.scaling processes|tenants|tables|idle`. Each run ends in a correct state or fails."""

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import typer
import uvloop

from infra.cli.plainly import plainly
from infra.services import MODULES
from tests.bench.capping import capped
from tests.bench.cpu import memory_mib
from tests.bench.driving import Driver
from tests.bench.filling import fill
from tests.bench.ours import Ours
from tests.bench.workload import Workload

SHARE: Final = 0.2
_IDLE_S: Final = 30.0
app: Final = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Row = dict[str, Any]

Orders = Annotated[int, typer.Option(min=500, help="orders of one run")]
Rounds = Annotated[int, typer.Option(min=1, help="rounds; medians are shown")]
Json = Annotated[bool, typer.Option("--json", help="one document on the standard output")]


@app.command()
@plainly
def processes(orders: Orders = 1_500, rounds: Rounds = 3, json_: Json = False) -> None:
    """One, two and four worker processes, each of all services and each capped to a fifth of a core; as root."""
    _run(_processes(orders, rounds), as_json=json_)


@app.command()
@plainly
def tenants(orders: Orders = 8_000, rounds: Rounds = 1, json_: Json = False) -> None:
    """5, 50 and 500 tenants on 1, 8 and 32 shards."""
    _run(_tenants(orders, rounds), as_json=json_)


@app.command()
@plainly
def tables(
    orders: Orders = 8_000,
    rounds: Rounds = 3,
    rows: Annotated[int, typer.Option(help="finished sagas, orders and inbox rows of each service that are there already")] = 1_000_000,
    json_: Json = False,
) -> None:
    """Empty tables against full ones, in alternation."""
    _run(_tables(orders, rounds, rows), as_json=json_)


@app.command()
@plainly
def idle(json_: Json = False) -> None:
    """What the platform uses while nothing happens: CPU of a core, memory."""
    _run(_idle(), as_json=json_)


async def _processes(orders: int, rounds: int) -> list[Row]:
    rows = []
    for number in (1, 2, 4):
        layout = {f"worker {one}": tuple(MODULES) for one in range(1, number + 1)}
        async with _started(Ours(layout=layout, in_flight=orders), Workload()) as driver:
            with ExitStack() as stack:
                for name in layout:
                    stack.enter_context(capped(driver.stack.pids()[name], SHARE))
                runs = [await driver.capacity(orders) for _ in range(rounds)]
        rows.append({"processes": number, "per_second": median(run.per_second for run in runs)})
    return [{**row, "times_one": row["per_second"] / rows[0]["per_second"]} for row in rows]


async def _tenants(orders: int, rounds: int) -> list[Row]:
    rows = []
    for shards in (1, 8, 32):
        for many in (5, 50, 500):
            async with _started(Ours(settings={"OAAS_SHARDS": str(shards)}), Workload(many)) as driver:
                runs = [await driver.capacity(orders) for _ in range(rounds)]
            rows.append({"shards": shards, "tenants": many, **_medians(runs)})
    return rows


async def _tables(orders: int, rounds: int, many: int) -> list[Row]:
    workload = Workload()
    async with _started(Ours(), workload) as empty, _started(Ours(), workload) as full:
        await fill(full.stack.administrator, many, _say)
        full.ignored_sagas = many
        runs = [(await empty.capacity(orders), await full.capacity(orders)) for _ in range(rounds)]
    found = [{"rows": 0, **_medians([one for one, _ in runs])}, {"rows": many, **_medians([one for _, one in runs])}]
    ratio = median(one.cpu_per_1000 / other.cpu_per_1000 for other, one in runs)
    return [*found, {"rows": "ratio", "cpu_per_1000": ratio}]


async def _idle() -> list[Row]:
    async with _started(Ours(), Workload()) as driver:
        await asyncio.sleep(_IDLE_S / 3)
        before = await driver.stack.spent()
        await asyncio.sleep(_IDLE_S)
        after = await driver.stack.spent()
        memory = memory_mib(driver.stack.pids())
    spent = {part: 100 * (after.cpu_s[part] - before.cpu_s[part]) / _IDLE_S for part in after.cpu_s}
    rows: list[Row] = [{"part": part, "percent_of_a_core": used, "MiB": memory.get(part)} for part, used in spent.items()]
    ours = sum(used for part, used in spent.items() if part in memory)
    return [*rows, {"part": "ours together", "percent_of_a_core": ours, "MiB": sum(memory.values())}]


@asynccontextmanager
async def _started(how: Ours, workload: Workload) -> AsyncIterator[Driver]:
    home = Path(tempfile.mkdtemp(prefix="oaas-scaling-"))
    try:
        async with how.running(home, workload, _say) as driver:
            yield driver
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _medians(runs: list[Any]) -> Mapping[str, float]:
    return {name: median(getattr(run, name) for run in runs) for name in ("per_second", "cpu_per_1000")}


def _run(work: Awaitable[list[Row]], *, as_json: bool) -> None:
    async def go() -> list[Row]:
        return await work

    rows = uvloop.run(go())
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    columns = list(rows[0])
    sys.stdout.write("  ".join(f"{column:>18}" for column in columns) + "\n")
    for row in rows:
        sys.stdout.write("  ".join(f"{_shown(row.get(column, '')):>18}" for column in columns) + "\n")


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    app(prog_name="python -m tests.bench.scaling")
