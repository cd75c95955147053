"""`make chaos`: thousands of orders, every message twice, and everything that can die does, again and again.

Exit code 1 if a promise is broken, or a fault was not injected as often as planned.

    python -m tests.chaos [--orders 5000] [--seed N] [--only WORDS] [--minutes M] [--kills 20] [--outages 3] [--stabs 60] [--json FILE]

`--only` takes words, with commas in between, of which a fault's name has one: `--only "frozen,coordinator: ack"`. `--minutes` is the soak:
faults and orders go on for so long, with longer lives in between, and memory, queues, outbox and inbox are printed.
"""

import argparse
import asyncio
import json
import secrets
import shlex
import sys
from pathlib import Path
from typing import Final

from infra.dev.demo_client import clients
from infra.dev.demo_stage import Stage
from infra.dev.ports import kept_port
from infra.dev.up import platform
from infra.settings import Settings
from infra.token import ensure_development_key
from tests.chaos.mutants import MUTANTS, VARIABLE
from tests.chaos.plan import Pace, Plan, plan_of
from tests.chaos.report import Report, table
from tests.chaos.run import Demand, chaos

HOME: Final = Path(__file__).resolve().parents[2] / ".oaas" / "chaos"
SOAK: Final = Pace(live=(20.0, 90.0), calm=(60.0, 120.0), outage=(4.0, 20.0), stab=(20.0, 60.0), nth_max=20)
_SOAK_LIFE_S: Final = 60.0


def main(words: list[str]) -> int:
    """Play, print, and say whether every promise was kept: 0 or 1."""
    asked = _asked(words)
    plan, demand = _plan(asked)
    command = shlex.join(["python", "-m", "tests.chaos", *_again(asked)])
    _say(f"seed {asked.seed}: {sum(plan.wanted().values())} faults, at least {demand.orders} orders")
    report = asyncio.run(_play(plan, demand, command))
    _say(table(report))
    if asked.json:
        Path(asked.json).write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return 1 if report.broken or report.missing else 0


async def _play(plan: Plan, demand: Demand, command: str) -> Report:
    ensure_development_key(HOME)
    overrides = {"OAAS_JWKS": str(HOME / "keys" / "jwks.json")}
    settings = Settings(home=HOME)
    # Not the port that everybody's platform begins with: somebody may take it while it is being stopped and started.
    started = platform(HOME, overrides, say=_say, api_port=kept_port(HOME / "api.port"))
    running = await asyncio.to_thread(started.__enter__)
    try:
        async with clients(running.api_url, settings) as made:
            return await chaos(running, Stage(running, made, _say), settings, plan, demand, command, _say, restore=False)
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)


def _asked(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--orders", type=int, default=5_000, help="how many orders at least")
    parser.add_argument("--seed", type=int, default=None, help="the same seed plans the same faults and orders; a new one if none is given")
    parser.add_argument("--only", default="", help="only faults whose name has one of these words, separated by commas")
    parser.add_argument("--minutes", type=float, default=0, help="soak: go on for so long")
    parser.add_argument("--kills", type=int, default=20, help="kills at each point with each kind of message")
    parser.add_argument("--outages", type=int, default=3, help="outages of each sort")
    parser.add_argument("--stabs", type=int, default=60, help="kills at random times")
    parser.add_argument("--deadlines", type=float, default=1.0, help="multiplies the deadlines of the sagas, for a slow machine")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="break the platform, to see that it is noticed")
    parser.add_argument("--json", default="", help="file to write the result to")
    asked = parser.parse_args(words)
    if asked.seed is None:
        asked.seed = secrets.randbelow(1_000_000)
    return asked


def _plan(asked: argparse.Namespace) -> tuple[Plan, Demand]:
    overrides = {"OAAS_DEADLINE_FACTOR": str(asked.deadlines), **({VARIABLE: asked.mutant} if asked.mutant else {})}
    only = [word.strip() for word in asked.only.split(",") if word.strip()]
    if not asked.minutes:
        plan = plan_of(asked.seed, kills=asked.kills, outages=asked.outages, stabs=asked.stabs, pace=Pace(), only=only)
        return plan, Demand(asked.orders, overrides=overrides)
    seconds = 60 * asked.minutes
    # As many as there is time for: how many that is, each run says.
    outages = max(1, round(seconds / (7 * (sum(SOAK.calm) + sum(SOAK.outage) + 20) / 2)))
    kills, stabs = max(1, round(seconds / _SOAK_LIFE_S * 8 / 45)), round(seconds / (sum(SOAK.stab) / 2))
    plan = plan_of(asked.seed, kills=kills, outages=outages, stabs=stabs, pace=SOAK, only=only)
    return plan, Demand(asked.orders, faults_max_s=seconds, overrides=overrides)


def _again(asked: argparse.Namespace) -> list[str]:
    told = ["--seed", str(asked.seed), "--orders", str(asked.orders)]
    told += ["--kills", str(asked.kills), "--outages", str(asked.outages), "--stabs", str(asked.stabs)]
    told += ["--only", asked.only] if asked.only else []
    told += ["--deadlines", f"{asked.deadlines:g}"] if asked.deadlines != 1 else []
    told += ["--mutant", asked.mutant] if asked.mutant else []
    return told + (["--minutes", f"{asked.minutes:g}"] if asked.minutes else [])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
