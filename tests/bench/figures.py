"""What one run of the benchmark measured, for any system, and how it is written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed; not a number if there is none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


@dataclass(frozen=True)
class Latency:
    """From submission (in an open loop: from when it was due) to the final state, committed; milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        return cls(*(1000 * percentile(seconds, share) for share in (0.5, 0.95, 0.99)))


@dataclass(frozen=True)
class Run:
    """One run that ended in a correct state. `offered` is the rate of an open loop, orders per second; None for capacity."""

    system: str
    orders: int
    seconds: float
    cpu_s: Mapping[str, float]
    """CPU-seconds by part: all processes, clients included."""
    latency: Latency
    offered: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)
    """What only this system tells, by name."""

    @property
    def per_second(self) -> float:
        return self.orders / self.seconds

    @property
    def cpu_per_1000(self) -> float:
        """CPU-seconds per 1 000 sagas, of all processes."""
        return 1000 * sum(self.cpu_s.values()) / self.orders

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "per_second": self.per_second, "cpu_per_1000": self.cpu_per_1000}


class WrongEndState(Exception):
    """Something was lost or made up: the run counts as 0."""

    def __init__(self, system: str, seen: object, wanted: object) -> None:
        super().__init__(f"{system} ended in a wrong state:\n  seen   {seen}\n  wanted {wanted}")
