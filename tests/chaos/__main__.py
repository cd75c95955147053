"""`make chaos`: thousands of orders, every message twice, and everything that can die does, again and again.

Exit code 1 if a promise is broken, or a fault was not injected as often as planned.

    python -m tests.chaos [--orders 5000] [--seed N] [--only WORDS] [--minutes M] [--kills 20] [--outages 3] [--stabs 60] [--json FILE]

`--only` takes words, with commas in between, of which a fault's name has one: `--only "frozen,coordinator: ack"`. `--minutes` is the soak:
faults and orders go on for so long, with longer lives in between, and memory, queues, outbox and inbox are printed.

Deadlines of the sagas are ten times as long as in production: so a lost message shows, because no deadline makes up for it in time, and
a process that is killed every other second is not taken for one that is silent. Afterwards every outage once more, with nobody killed
and with the deadlines of production, which are shorter than some outages.
"""

import argparse
import asyncio
import json
import secrets
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from infra.dev.demo_client import clients
from infra.dev.demo_stage import Stage
from infra.dev.ports import kept_port
from infra.dev.up import platform
from infra.settings import Settings
from infra.token import ensure_development_key
from tests.chaos.mutants import MUTANTS, VARIABLE
from tests.chaos.plan import OUTAGES, PROCESSES, Pace, Plan, cells, plan_of
from tests.chaos.report import Report, table
from tests.chaos.run import Demand, chaos

HOME: Final = Path(__file__).resolve().parents[2] / ".oaas" / "chaos"
SOAK: Final = Pace(live=(20.0, 90.0), calm=(60.0, 120.0), outage=(4.0, 20.0), stab=(20.0, 60.0), nth_max=20)
_SOAK_LIFE_S, _SOAK_OUTAGE_S, _SOAK_STAB_S = 70.0, 120.0, 40.0
"""About how long each takes, with what comes before it: as many are planned as there is time for."""


def main(words: list[str]) -> int:
    """Play, print, and say whether every promise was kept: 0 or 1."""
    asked = _asked(words)
    runs = [_soak(asked)] if asked.minutes else [_everything(asked), *_outages_alone(asked)]
    command = shlex.join(["python", "-m", "tests.chaos", *_again(asked)])
    reports = asyncio.run(_play(runs, command))
    if asked.json:
        Path(asked.json).write_text(json.dumps([report.as_json() for report in reports], indent=2) + "\n")
    return 1 if any(report.broken or report.missing for report in reports) else 0


async def _play(runs: list[tuple[Plan, Demand]], command: str) -> list[Report]:
    ensure_development_key(HOME)
    overrides = {"OAAS_JWKS": str(HOME / "keys" / "jwks.json")}
    settings = Settings(home=HOME)
    # Not the port that everybody's platform begins with: somebody may take it while it is being stopped and started.
    started = platform(HOME, overrides, say=_say, api_port=kept_port(HOME / "api.port"))
    running = await asyncio.to_thread(started.__enter__)
    try:
        reports = []
        for plan, demand in runs:
            deadlines = demand.overrides["OAAS_DEADLINE_FACTOR"]
            _say(f"seed {plan.seed}, deadlines x {deadlines}: {sum(plan.wanted().values())} faults, at least {demand.orders} orders")
            async with clients(running.api_url, settings) as made:
                reports.append(await chaos(running, Stage(running, made, _say), settings, plan, demand, command, _say, restore=True))
            _say(table(reports[-1]))
        return reports
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
    parser.add_argument("--deadlines", type=float, default=10.0, help="multiplies the deadlines of the sagas, 10 at most")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="break the platform, to see that it is noticed")
    parser.add_argument("--json", default="", help="file to write the result to")
    asked = parser.parse_args(words)
    if asked.seed is None:
        asked.seed = secrets.randbelow(1_000_000)
    return asked


def _everything(asked: argparse.Namespace) -> tuple[Plan, Demand]:
    plan = plan_of(asked.seed, kills=asked.kills, outages=asked.outages, stabs=asked.stabs, pace=Pace(), only=_words(asked))
    return plan, Demand(asked.orders, overrides=_overrides(asked, asked.deadlines))


def _outages_alone(asked: argparse.Namespace) -> list[tuple[Plan, Demand]]:
    """Nothing, if only some faults were asked for."""
    if asked.only or not asked.outages:
        return []
    plan = plan_of(asked.seed, kills=0, outages=1, stabs=0, pace=Pace())
    return [(plan, Demand(min(asked.orders, 500), overrides=_overrides(asked, 1.0)))]


def _soak(asked: argparse.Namespace) -> tuple[Plan, Demand]:
    seconds = 60 * asked.minutes
    outages = max(1, round(seconds / (len(OUTAGES) * _SOAK_OUTAGE_S)))
    kills, stabs = max(1, round(seconds / _SOAK_LIFE_S * len(PROCESSES) / len(cells()))), round(seconds / _SOAK_STAB_S)
    plan = plan_of(asked.seed, kills=kills, outages=outages, stabs=stabs, pace=SOAK, only=_words(asked))
    demand = Demand(asked.orders, think_s=12.0, faults_max_s=seconds, lasts_s=seconds, sample_every_s=30.0)
    return plan, replace(demand, overrides=_overrides(asked, asked.deadlines))


def _words(asked: argparse.Namespace) -> list[str]:
    return [word.strip() for word in asked.only.split(",") if word.strip()]


def _overrides(asked: argparse.Namespace, deadlines: float) -> dict[str, str]:
    return {"OAAS_DEADLINE_FACTOR": f"{deadlines:g}", **({VARIABLE: asked.mutant} if asked.mutant else {})}


def _again(asked: argparse.Namespace) -> list[str]:
    told = ["--seed", str(asked.seed), "--orders", str(asked.orders)]
    told += ["--kills", str(asked.kills), "--outages", str(asked.outages), "--stabs", str(asked.stabs)]
    told += ["--only", asked.only] if asked.only else []
    told += ["--deadlines", f"{asked.deadlines:g}"] if asked.deadlines != 10 else []
    told += ["--mutant", asked.mutant] if asked.mutant else []
    return told + (["--minutes", f"{asked.minutes:g}"] if asked.minutes else [])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
