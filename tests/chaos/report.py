"""What a run came to: one row for each fault, the promises that were broken, and how to play it again."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from tests.chaos.crowd import Journey
from tests.chaos.growth import Sample
from tests.chaos.proof import Findings

FINAL_MAX_S: Final = 60.0
"""Longest after the last fault until every order is final."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that happened; times of the monotonic clock. A kill begins and ends at once."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Row:
    """`recovery`: from the end of the fault until an order was final that was open then, over all such orders of all such faults."""

    fault: str
    wanted: int
    injected: int
    lost: int
    doubled: int
    recovery_p50_s: float
    recovery_max_s: float


@dataclass(frozen=True)
class Report:
    """Of one run."""

    seed: int
    command: str
    lasted_s: float
    accepted: int
    statuses: Mapping[str, int]
    rows: Sequence[Row]
    findings: Findings
    samples: Sequence[Sample]
    broken: Sequence[str]
    """Empty if every promise was kept."""

    @property
    def missing(self) -> list[str]:
        """What was not injected as often as planned, and so proves less than it should."""
        return [f"{row.fault}: injected {row.injected} times of {row.wanted}" for row in self.rows if row.injected < row.wanted]

    def as_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "command": self.command,
            "lasted_s": round(self.lasted_s, 1),
            "orders": self.accepted,
            "lost": len(self.findings.lost),
            "doubled": len(self.findings.doubled),
            "outcomes": dict(self.findings.outcomes),
            "answers": dict(self.statuses),
            "faults": [asdict(row) for row in self.rows],
            "growth": [asdict(one) for one in self.samples],
            "broken": list(self.broken),
            "missing": self.missing,
        }


def rows_of(wanted: Mapping[str, int], injected: Sequence[Injected], journeys: Sequence[Journey], findings: Findings) -> list[Row]:
    """One row for each fault that was planned; a wrong order counts at every fault during which it was open."""
    by_name: dict[str, list[Injected]] = defaultdict(list)
    for one in injected:
        by_name[one.name].append(one)
    spans = [(since, done) for journey in journeys for since, done in journey.spans if since is not None and done is not None]
    rows = []
    for name, times in wanted.items():
        here = by_name[name]
        recoveries = [done - one.ended for one in here for since, done in spans if since <= one.ended < done] or [0.0]
        lost, doubled = (sum(_is_hit(journey, here) for journey in of) for of in (findings.lost, findings.doubled))
        rows.append(Row(name, times, len(here), lost, doubled, round(statistics.median(recoveries), 1), round(max(recoveries), 1)))
    return rows


def broken_promises(findings: Findings, final_after_s: float | None) -> Iterator[str]:
    """Every promise that was broken, in words. `final_after_s`: when the last order was final, after the last fault; None: never."""
    yield from findings.broken
    if final_after_s is None:
        yield f"not every order was final {FINAL_MAX_S:.0f} s after the last fault"


def table(report: Report) -> str:
    """The report for people."""
    width = max(len(row.fault) for row in report.rows) if report.rows else 20
    lines = [f"{'fault':<{width}}  injected  lost  doubled  recovery p50     max"]
    lines += [
        f"{row.fault:<{width}}  {row.injected:>4}/{row.wanted:<3}  {row.lost:>4}  {row.doubled:>7}"
        f"  {row.recovery_p50_s:>10.1f} s  {row.recovery_max_s:>5.1f} s"
        for row in sorted(report.rows, key=lambda row: row.fault)
    ]
    outcomes = ", ".join(f"{number} {name}" for name, number in report.findings.outcomes.most_common())
    answers = ", ".join(f"{number} x {name}" for name, number in sorted(report.statuses.items()))
    faults = sum(row.injected for row in report.rows)
    lines += [
        "",
        f"{report.accepted} orders, {faults} faults, {report.lasted_s:.0f} s: "
        f"{len(report.findings.lost)} lost, {len(report.findings.doubled)} doubled",
        f"orders ended: {outcomes}",
        f"clients were answered: {answers}",
        *_growth(report.samples),
        f"seed {report.seed}; play it again: {report.command}",
        *(["", "NOT INJECTED:", *(f"  {line}" for line in report.missing)] if report.missing else []),
        *(["", "BROKEN:", *(f"  {line}" for line in report.broken)] if report.broken else ["every promise was kept"]),
    ]
    return "\n".join(lines)


def _growth(samples: Sequence[Sample]) -> Iterator[str]:
    if not samples:
        return
    yield f"{'at':>7}  {'orders':>6}  {'queued':>6}  {'outbox':>6}  {'inbox':>7}  memory in MB"
    every = max(1, len(samples) // 12)
    for one in [*samples[:-1:every], samples[-1]]:
        memory = "  ".join(f"{name} {number:.0f}" for name, number in one.memory_mb.items())
        yield f"{one.at - samples[0].at:>5.0f} s  {one.orders:>6}  {one.queued:>6}  {one.outbox:>6}  {one.inbox:>7}  {memory}"


def _is_hit(journey: Journey, faults: Sequence[Injected]) -> bool:
    return any(journey.was_open(one.began, one.ended) for one in faults)
