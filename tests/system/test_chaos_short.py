"""A short form of `make chaos`: servers go away and processes die at every point, with more than a hundred orders on their way."""

from collections import defaultdict
from dataclasses import replace

import pytest

from infra.dev.demo_stage import Stage
from infra.settings import Settings
from tests.chaos.plan import Kill, Pace, Plan, plan_of
from tests.chaos.report import table
from tests.chaos.run import Demand, chaos
from tests.system.conftest import HOME

SEED = 4
BRIEF = Pace(live=(0.0, 0.6), calm=(2.0, 4.0), outage=(1.0, 2.0), stab=(2.0, 5.0), nth_max=2, frozen_s=4.0)
OUTAGES = ("RabbitMQ killed", "RabbitMQ frozen", "disk alarm", "PostgreSQL stopped")
"""One of each kind: a broker takes seconds to start, and there is a minute for all."""
POINTS = ("consume", "inbox", "save", "outbox", "commit", "committed", "publish", "confirmed", "ack")
KILLS_AT_A_POINT = 1
DEMAND = Demand(orders=120, clients=40, think_s=1.0, faults_max_s=150, sample_every_s=10)
AGAIN = "pytest tests/system/test_chaos_short.py"


def brief_plan() -> Plan:
    """A kill at each point, of whatever process and with whatever kind of message the seed says first."""
    plan = plan_of(SEED, kills=1, outages=1, stabs=2, pace=BRIEF, only=("SIGKILL", *OUTAGES))
    chosen: dict[str, list[Kill]] = defaultdict(list)
    for kill in plan.kills:
        if len(chosen[kill.point]) < KILLS_AT_A_POINT:
            chosen[kill.point].append(kill)
    assert set(chosen) == set(POINTS)
    return replace(plan, kills=tuple(kill for kills in chosen.values() for kill in kills))


@pytest.mark.timeout(420)  # a minute on a machine that has nothing else to do
async def test_whatever_dies_every_order_ends_once_and_every_book_balances(stage: Stage) -> None:
    plan = brief_plan()
    report = await chaos(stage.running, stage, Settings(home=HOME), plan, DEMAND, AGAIN, print, restore=True)
    assert not report.broken, table(report)
    assert not report.missing, table(report)
    assert report.accepted >= DEMAND.orders
