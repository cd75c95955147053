"""One peer, measured: `python -m tests.bench.peers dbos|restate|celery`."""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.figures import Run
from tests.bench.peers.table import PEERS
from tests.bench.workload import Workload

_WARMING_UP = 200


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--orders", type=int, default=2_000, help="orders of a run as fast as it can; 0: no such run (default 2000)")
    parser.add_argument("--runs", type=int, default=1, help="so many runs as fast as it can (default 1)")
    parser.add_argument("--rate", type=float, action="append", default=[], help="orders a second; may be given more than once")
    parser.add_argument("--seconds", type=float, default=10, help="how long each rate is kept up (default 10)")
    parser.add_argument("--tenants", type=int, default=Workload.tenants, help=f"default {Workload.tenants}")
    parser.add_argument("--tools", type=Path, default=Path(os.environ.get("OAAS_HOME", ".oaas")), help="peers are installed under it")
    parser.add_argument("--json", action="store_true", help="one document per run, and nothing else, on the standard output")
    return parser.parse_args()


async def _main(given: argparse.Namespace) -> None:
    home = Path(tempfile.mkdtemp(prefix="oaas-peer-"))
    try:
        async with PEERS[given.peer](home, given.tools.resolve(), Workload(given.tenants), _say) as driver:
            await driver.capacity(_WARMING_UP)
            for number in range(given.runs if given.orders else 0):
                _say(f"{given.orders} orders as fast as it can, {number + 1} of {given.runs}")
                _show(await driver.capacity(given.orders), as_json=given.json)
            for rate in given.rate:
                _say(f"{rate:g} orders a second for {given.seconds:g} s")
                _show(await driver.at(rate, given.seconds), as_json=given.json)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command


def _show(run: Run, *, as_json: bool) -> None:
    parts = ", ".join(f"{part} {1000 * seconds / run.orders:.2f}" for part, seconds in run.cpu_s.items())
    latency, offered = run.latency, f"at {run.offered:g}/s" if run.offered else "capacity"
    said = f"{run.system} {offered}: {run.per_second:.0f}/s; p50 {latency.p50:.0f} p95 {latency.p95:.0f} p99 {latency.p99:.0f} ms"
    said += f"; {run.cpu_per_1000:.2f} CPU-s per 1 000 ({parts})"
    print(json.dumps(run.to_json()) if as_json else said, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    asyncio.run(_main(_arguments()))
