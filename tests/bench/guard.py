"""Fails if a saga costs half as much again as it did: `python -m tests.bench.guard`, the last thing that CI does.

What a saga costs is counted in CPU-time of all processes and compared with what a fixed piece of work costs the same machine in the same
minute: a slower machine, or a busier one, makes both cost more. `--record` writes the ratio down as the new measure.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID, uuid5

from tests.bench.ours import Ours
from tests.bench.workload import Workload

RECORDED: Final = Path(__file__).with_name("guard.json")
TOLERATED: Final = 1.4
"""Times what is recorded. Runs of one tree differ by a tenth; a loss of a half must be seen."""
_ORDERS: Final = 3_000
_RUNS: Final = 3
_CALIBRATIONS: Final = 5
_TURNS: Final = 20_000
_CORES: Final = os.cpu_count() or 1


def main() -> None:
    """Measure, compare, and say so; exit code 1 if it has become too dear."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write what is measured down as the new measure")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the platform, to see this check red")
    given = parser.parse_args()
    settings = dict(one.split("=", 1) for one in given.set)
    ratio = asyncio.run(_measured(settings))
    if given.record:
        RECORDED.write_text(json.dumps({"ratio": round(ratio, 2)}) + "\n")
    recorded = float(json.loads(RECORDED.read_text())["ratio"])
    if not is_fine(ratio, recorded):
        _say(f"{verdict(ratio, recorded)} Once more, in case somebody disturbed it")
        ratio = min(ratio, asyncio.run(_measured(settings)))
    _say(verdict(ratio, recorded))
    sys.exit(0 if is_fine(ratio, recorded) else 1)


def is_fine(ratio: float, recorded: float) -> bool:
    return ratio <= TOLERATED * recorded


def verdict(ratio: float, recorded: float) -> str:
    """What is said of a ratio."""
    said = (
        f"1 000 sagas cost {ratio:.2f} times the calibration loop's CPU; {recorded:.2f} is recorded, {TOLERATED:g} times that is tolerated"
    )
    if is_fine(ratio, recorded):
        return f"{said}: fine"
    return (
        f"{said}: TOO DEAR. `oaas bench --compare REVISION` finds since when, `oaas bench --profile FOLDER` where;"
        " if it is worth its price, `python -m tests.bench.guard --record`"
    )


def calibrate(_number: int = 0) -> float:
    """CPU-seconds of a fixed piece of work, of the kind that our processes do: identifiers, texts, dictionaries."""
    namespace = UUID(int=1)
    began = time.process_time()
    for turn in range(_TURNS):
        item = {"id": str(uuid5(namespace, str(turn))), "turn": turn, "lines": [{"sku": f"SKU-{n}", "quantity": n} for n in range(5)]}
        again = json.loads(json.dumps(item))
        assert {**again, "turn": turn} == item
    return time.process_time() - began


async def _measured(settings: Mapping[str, str]) -> float:
    home = Path(tempfile.mkdtemp(prefix="oaas-guard-"))
    try:
        async with Ours(in_flight=_ORDERS, settings=settings).running(home, Workload(), _say) as driver:
            # Before and after, and on all cores at once as the sagas are: two that share one core's parts slow each other.
            with ProcessPoolExecutor(_CORES) as cores:
                calibrations = list(cores.map(calibrate, range(_CALIBRATIONS * _CORES)))
                costs = [(await driver.capacity(_ORDERS)).cpu_per_1000 for _ in range(_RUNS)]
                calibrations += cores.map(calibrate, range(_CALIBRATIONS * _CORES))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    _say(f"CPU-s per 1 000 sagas: {', '.join(f'{cost:.2f}' for cost in costs)}; calibration {median(calibrations):.3f} CPU-s")
    return median(costs) / median(calibrations)


def _say(line: str) -> None:
    sys.stdout.write(f"guard: {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
