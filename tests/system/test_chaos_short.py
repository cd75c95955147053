"""A short form of `make chaos`: every server goes away and every process dies at every point, with a few hundred orders on their way."""

from collections import defaultdict

from infra.dev.demo_stage import Stage
from infra.settings import Settings
from tests.chaos.plan import Pace, plan_of
from tests.chaos.report import Report, table
from tests.chaos.run import Demand, chaos
from tests.system.conftest import HOME

SEED = 4
BRIEF = Pace(live=(0.0, 0.4), calm=(1.0, 3.0), outage=(1.0, 2.0), stab=(2.0, 5.0), nth_max=2, frozen_s=4.0)
DEMAND = Demand(orders=100, clients=100, think_s=2.0, faults_max_s=55, sample_every_s=10)
"""Orders go on for as long as faults do: a few hundred on a machine that has nothing else to do."""
ONLY = ("SIGKILL", "RabbitMQ killed", "RabbitMQ frozen", "disk alarm", "PostgreSQL stopped")
"""Of the outages one of each kind: a broker takes seconds to start, and there is a minute for all."""
POINTS = ("consume", "inbox", "save", "outbox", "commit", "committed", "publish", "confirmed", "ack")
AGAIN = "pytest tests/system/test_chaos_short.py"


async def test_whatever_dies_every_order_ends_once_and_every_book_balances(stage: Stage) -> None:
    plan = plan_of(SEED, kills=1, outages=1, stabs=4, pace=BRIEF, only=ONLY)
    report = await chaos(stage.running, stage, Settings(home=HOME), plan, DEMAND, AGAIN, print, restore=True)
    assert not report.broken, table(report)
    injected = _injected(report)
    assert all(injected[outage.name] for outage in plan.outages)
    # On a busy machine there may be no time for each kind of message at each point, but for each point there is.
    assert {point: injected[point] for point in POINTS if not injected[point]} == {}


def _injected(report: Report) -> dict[str, int]:
    """How often each outage, and each point whatever the kind of message, was injected."""
    found: dict[str, int] = defaultdict(int)
    for row in report.rows:
        point = row.fault.partition(": ")[2].partition(",")[0]
        found[point if point in POINTS else row.fault] += row.injected
    return found
