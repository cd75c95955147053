"""What is going to go wrong, decided by a seed before anything runs: the same seed gives the same faults in the same order.

A kill is an assignment to one life of one process: armed `after_s` seconds after it began to work, it dies the `nth` time that it meets
the point with a message of that kind. When that happens depends on the machine; what was assigned does not.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

WORKER: Final = "worker"
COORDINATOR: Final = "coordinator"
API: Final = "api"
STAB: Final = "SIGKILL at random"

PROCESSES: Final[dict[str, str]] = {
    "tenants": "tenants",
    "inventory": "inventory",
    "orders": "orders",
    "payments": "payments",
    "ops": "ops",
    "sagas": "sagas",
    "sagas-2": "sagas",
    "api": "orders",
}
"""Each process by its name, and the service whose crash points it is killed at. Two coordinators: they have most points to die at."""

_COMMANDED: Final = ("tenants", "inventory", "orders", "payments")
_HEARING: Final = ("tenants", "inventory", "ops")
_SAGAS: Final = ("sagas", "sagas-2")
_TAKING: Final = ("consume", "inbox", "save", "ack")
_WRITING: Final = ("outbox", "commit", "committed")
_SENDING: Final = ("publish", "confirmed")

Cell = tuple[str, str, str]
"""Who (worker, coordinator, api), at which point, with which kind of message."""


def cells() -> dict[Cell, Sequence[str]]:
    """Every point at which somebody meets a kind of message, and the processes that do.

    What is taken is what was delivered; what is written or committed is that or what it causes; what is sent is what was caused.
    Participants answer commands and hear events; the coordinator hears replies and events and sends commands; the API sends events.
    """
    found: dict[Cell, Sequence[str]] = {}
    for point in _TAKING:
        found[WORKER, point, "command"] = _COMMANDED
        found[WORKER, point, "event"] = _HEARING
        found[COORDINATOR, point, "reply"] = found[COORDINATOR, point, "event"] = _SAGAS
    for point in _WRITING:
        found[WORKER, point, "command"] = found[WORKER, point, "reply"] = _COMMANDED
        found |= {(COORDINATOR, point, kind): _SAGAS for kind in ("reply", "event", "command")}
    found |= {(WORKER, point, "event"): _HEARING for point in ("commit", "committed")}
    found |= {(WORKER, point, "reply"): _COMMANDED for point in _SENDING}
    found |= {(COORDINATOR, point, kind): _SAGAS for point in _SENDING for kind in ("command", "event")}
    found |= {(API, point, "event"): (API,) for point in ("save", *_WRITING, *_SENDING)}
    return found


@dataclass(frozen=True, slots=True)
class Kill:
    """One assignment."""

    id: int
    who: str
    process: str
    point: str
    kind: str
    nth: int
    after_s: float

    @property
    def name(self) -> str:
        """The row of the table that it counts in."""
        return row_of((self.who, self.point, self.kind))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outage:
    """A server goes away, freezes or refuses, `calm_s` after the one before is over, for `lasting_s`."""

    name: str
    calm_s: float
    lasting_s: float


@dataclass(frozen=True, slots=True)
class Stab:
    """A process dies wherever it is, `pause_s` after the one before."""

    process: str
    pause_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How dense the faults are, seconds: from the beginning of a life until it is armed, between outages, their length, between stabs."""

    # Frozen for longer than the broker's clients wait for a heartbeat.
    frozen_s: float = 20.0

    live: tuple[float, float] = (0.0, 3.0)
    calm: tuple[float, float] = (8.0, 16.0)
    outage: tuple[float, float] = (4.0, 14.0)
    stab: tuple[float, float] = (4.0, 12.0)
    nth_max: int = 6


OUTAGES: Final = (
    "RabbitMQ stopped and started",
    "RabbitMQ killed and started",
    "RabbitMQ frozen",
    "RabbitMQ's disk alarm",
    "RabbitMQ's memory alarm",
    "PostgreSQL stopped (immediate) and started",
    "PostgreSQL killed and started",
)


@dataclass(frozen=True)
class Plan:
    """All faults of a run."""

    seed: int
    kills: tuple[Kill, ...]
    outages: tuple[Outage, ...]
    stabs: tuple[Stab, ...]

    def kills_of(self, process: str) -> list[Kill]:
        """What the lives of this process are assigned, in this order."""
        return [kill for kill in self.kills if kill.process == process]

    def wanted(self) -> dict[str, int]:
        """How often each fault is to be injected, by its row in the table."""
        counted: dict[str, int] = {}
        for name in (*(kill.name for kill in self.kills), *(outage.name for outage in self.outages), *(STAB for _ in self.stabs)):
            counted[name] = counted.get(name, 0) + 1
        return counted


def plan_of(seed: int, *, kills: int, outages: int, stabs: int, pace: Pace, only: Collection[str] = ()) -> Plan:
    """`kills` for each cell, `outages` of each sort, `stabs` in all; `only` those faults whose name has one of these words in it."""
    chance = random.Random(seed)
    return Plan(
        seed,
        tuple(_kills(chance, kills, pace, only)),
        tuple(_outages(chance, outages, pace, only)),
        tuple(_stabs(chance, stabs, pace, only)),
    )


def row_of(cell: Cell) -> str:
    """A cell's row in the table."""
    return f"SIGKILL {cell[0]}: {cell[1]}, {cell[2]}"


def _kills(chance: random.Random, times: int, pace: Pace, only: Collection[str]) -> Iterator[Kill]:
    # Shuffled: of many deaths at one point in a row, all before the commit, no message would ever get past.
    wanted = [
        (cell, processes[(index + time) % len(processes)])
        for index, (cell, processes) in enumerate(cells().items())
        if _is_chosen(row_of(cell), only)
        for time in range(times)
    ]
    chance.shuffle(wanted)
    for id, ((who, point, kind), process) in enumerate(wanted):
        # Of events there are few: nobody waits for the sixth.
        nth = chance.randint(1, 2 if kind == "event" else pace.nth_max)
        yield Kill(id, who, process, point, kind, nth, round(chance.uniform(*pace.live), 2))


def _outages(chance: random.Random, times: int, pace: Pace, only: Collection[str]) -> Iterator[Outage]:
    for _ in range(times):
        names = [name for name in OUTAGES if _is_chosen(name, only)]
        chance.shuffle(names)
        for name in names:
            lasting_s = pace.frozen_s if name == "RabbitMQ frozen" else chance.uniform(*pace.outage)
            yield Outage(name, round(chance.uniform(*pace.calm), 1), round(lasting_s, 1))


def _stabs(chance: random.Random, times: int, pace: Pace, only: Collection[str]) -> Iterator[Stab]:
    if _is_chosen(STAB, only):
        for _ in range(times):
            yield Stab(chance.choice(list(PROCESSES)), round(chance.uniform(*pace.stab), 1))


def _is_chosen(name: str, only: Collection[str]) -> bool:
    return not only or any(word.lower() in name.lower() for word in only)
