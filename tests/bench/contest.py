"""Who runs against whom, round by round: only figures of one sitting can be compared."""

import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from tests.bench.figures import Latency, Run
from tests.bench.ours import Ours
from tests.bench.workload import Workload

RATES: Final = (15.0, 45.0, 180.0)
_PEERS_ORDERS_SHARE: Final = 0.1
"""A peer's run as fast as it can has fewer orders than ours: it would take ten times as long."""
Say = Callable[[str], None]


class Drives(Protocol):
    """A running system, and who drives it."""

    async def capacity(self, orders: int) -> Run: ...

    async def at(self, per_second: float, seconds: float) -> Run: ...


Start = Callable[[Path], AbstractAsyncContextManager[Drives]]


@dataclass(frozen=True)
class Contender:
    """One system: how it is started in an empty folder, and how many orders its runs as fast as it can have."""

    name: str
    start: Start
    orders: int


@dataclass
class Results:
    """Every run of one contender."""

    capacity: list[Run] = field(default_factory=list)
    half: list[Run] = field(default_factory=list)
    at: dict[float, list[Run]] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """The median of the runs as fast as it can."""
        return statistics.median(run.per_second for run in self.capacity)

    @property
    def cpu_per_1000(self) -> float:
        return statistics.median(run.cpu_per_1000 for run in self.capacity)


@dataclass(frozen=True)
class Plan:
    """`rounds` times: each contender as fast as it can, at half of that, and at each of the rates, for `seconds` each."""

    rounds: int
    rates: Sequence[float]
    seconds: float


def ours(how: Ours, workload: Workload, orders: int, say: Say) -> Contender:
    return Contender(how.name, lambda home: how.running(home, workload, say), orders)


def peers(names: Sequence[str], workload: Workload, orders: int, tools: Path, say: Say) -> list[Contender]:
    """The peers of these names; installs what is missing of them when they are started."""
    from tests.bench.peers.table import PEERS  # only here: without peers nothing of theirs is needed

    few = max(500, int(orders * _PEERS_ORDERS_SHARE))
    return [Contender(name, lambda home, name=name: PEERS[name](home, tools, workload, say), few) for name in names]  # type: ignore[misc]  # bound early


async def contest(contenders: Sequence[Contender], plan: Plan, say: Say) -> dict[str, Results]:
    """All runs of all contenders, by name, interleaved: each round each of them is started on fresh servers. Raises WrongEndState."""
    found = {one.name: Results() for one in contenders}
    for number in range(1, plan.rounds + 1):
        for one in contenders:
            say(f"round {number} of {plan.rounds}: {one.name}")
            home = Path(tempfile.mkdtemp(prefix="oaas-bench-"))
            try:
                async with one.start(home) as driver:
                    await _play(driver, one, plan, found[one.name], say)
            finally:
                shutil.rmtree(home, ignore_errors=True)
    return found


async def _play(driver: Drives, one: Contender, plan: Plan, results: Results, say: Say) -> None:
    say(f"  {one.orders} orders as fast as it can")
    results.capacity.append(run := await driver.capacity(one.orders))
    say(f"  {run.per_second:.0f}/s, {run.cpu_per_1000:.2f} CPU-s per 1 000")
    if plan.seconds <= 0:
        return
    say(f"  {run.per_second / 2:.0f}/s for {plan.seconds:g} s: half of that")
    results.half.append(await driver.at(run.per_second / 2, plan.seconds))
    for rate in plan.rates:
        if rate < run.per_second:
            say(f"  {rate:g}/s for {plan.seconds:g} s")
            results.at.setdefault(rate, []).append(await driver.at(rate, plan.seconds))


def median_latency(runs: Sequence[Run]) -> Latency:
    """Each figure's median over the runs."""
    return Latency(*(statistics.median(getattr(run.latency, name) for run in runs) for name in ("p50", "p95", "p99")))


def median_more(runs: Sequence[Run]) -> Mapping[str, float]:
    return {name: statistics.median(run.more[name] for run in runs) for name in runs[0].more}


def median_cpu(runs: Sequence[Run]) -> Mapping[str, float]:
    """CPU-seconds per 1 000 sagas by part, each part's median over the runs."""
    return {part: statistics.median(1000 * run.cpu_s[part] / run.orders for run in runs) for part in runs[0].cpu_s}
