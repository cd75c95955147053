"""A replay: the letters of a plan, sent again. Its states, those of its items, and when it goes on, stops or ends. Pure.

PLANNED --start--> RUNNING --everything has its outcome--> DONE
   |                 |  ^  \\--too many failed--> STOPPED --resume--> RUNNING
   |           pause v  | resume
   |                PAUSED
   |\\--cancel--> CANCELLED <--cancel-- RUNNING, PAUSED, STOPPED
   \\--nobody starts it--> EXPIRED

an item: WAITING --> SENT --> SETTLED | KNOWN | FAILED       WAITING --> LEFT_OUT | CANCELLED
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from contracts.values import TenantId

WINDOW: Final = 100
"""Outcomes, the newest, that the stop rule looks at."""
WINDOW_LEAST: Final = 20
"""It says nothing on fewer: one failure of two is no rate."""


class State(StrEnum):
    """Where a replay stands."""

    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    """By its own rule: too many failed again."""
    CANCELLED = "CANCELLED"
    DONE = "DONE"
    EXPIRED = "EXPIRED"
    """A plan that nobody started in time."""

    @property
    def is_over(self) -> bool:
        """Nothing will be sent any more, whatever anybody does."""
        return self in (State.CANCELLED, State.DONE, State.EXPIRED)


class ItemState(StrEnum):
    """Where one letter of a replay stands."""

    WAITING = "WAITING"
    SENT = "SENT"
    SETTLED = "SETTLED"
    """The service has handled it, in the transaction in which it said so."""
    KNOWN = "KNOWN"
    """The service had handled it before: the replay changed nothing."""
    FAILED = "FAILED"
    """It died again, or was lost on its way."""
    LEFT_OUT = "LEFT_OUT"
    """It was not sent: it was no longer as planned."""
    CANCELLED = "CANCELLED"
    """It was not sent: the replay was cancelled before its turn came."""


LEGAL: Final[Mapping[ItemState, frozenset[ItemState]]] = {
    # Sent again while nobody answers, which the service's inbox makes harmless.
    ItemState.SENT: frozenset({ItemState.SENT, ItemState.SETTLED, ItemState.KNOWN, ItemState.FAILED}),
    ItemState.WAITING: frozenset({ItemState.SENT, ItemState.LEFT_OUT, ItemState.CANCELLED}),
    # Of a letter that was sent twice one may die and the other be handled: that it was handled is what counts.
    ItemState.FAILED: frozenset({ItemState.SETTLED, ItemState.KNOWN}),
    ItemState.SETTLED: frozenset(),
    ItemState.KNOWN: frozenset(),
    ItemState.LEFT_OUT: frozenset(),
    ItemState.CANCELLED: frozenset(),
}


def may_become(state: ItemState) -> list[ItemState]:
    """The states from which an item may come to this one."""
    return sorted(before for before, after in LEGAL.items() if state in after)


class IllegalReplay(Exception):
    """The verb is not possible now, and why not."""

    def __init__(self, verb: str, why: str) -> None:
        super().__init__(f"cannot {verb}: {why}")
        self.verb = verb


@dataclass(frozen=True, slots=True)
class Pace:
    """How a replay goes. `rate` in letters per second; `canary` letters go first and alone; `stop_above_percent` of outcomes, 0 to 100."""

    rate: int = 50
    canary: int | None = None
    stop_above_percent: int = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a running replay's items; `since then`: since it began, or went on after its rule had stopped it."""

    is_more_waiting: bool
    on_the_way: int
    """SENT, whenever that was."""
    begun: int
    """Sent since then, whatever has come of them; needed up to the canary's size only."""
    outcomes: int
    """SETTLED, KNOWN and FAILED since then: the newest, WINDOW or the canary's size at most."""
    failures: int
    """Those of them that FAILED."""


@dataclass(frozen=True, slots=True)
class Send:
    """So many more letters at most, as soon as the rate allows."""

    at_most: int


@dataclass(frozen=True, slots=True)
class Wait:
    """For outcomes."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The canary lives: the others follow."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Too many failed."""

    detail: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything has its outcome."""


Step = Send | Wait | Trust | Stop | Finish


@dataclass(kw_only=True)
class Replay:
    """One replay. `tenant_id` is its operator's, or nobody's for an operator of the platform; `filter` and `summary` are JSON."""

    tenant_id: TenantId
    id: UUID
    actor: str
    reason: str
    filter: str
    includes_ended: bool
    total: int
    summary: str
    planned_at: datetime
    expires_at: datetime
    state: State = State.PLANNED
    pace: Pace = Pace()
    is_trusted: bool = False
    """Its canary has lived, or it has none."""
    detail: str = ""
    counted_since: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_of_the_platform(self) -> bool:
        """Its operator belongs to no tenant."""
        return self.tenant_id.int == 0

    def start(self, pace: Pace, now: datetime) -> None:
        """Begin to send; raises IllegalReplay for one that was begun, is too old or is empty."""
        self._require("start", State.PLANNED)
        if now >= self.expires_at:
            raise IllegalReplay("start", f"the plan is of {self.planned_at:%Y-%m-%d %H:%M} and too old; plan anew")
        if not self.total:
            raise IllegalReplay("start", "the plan has no letters")
        self.pace = pace
        self.state = State.RUNNING
        self.started_at = now
        self._count_anew(now)

    def pause(self) -> None:
        """Send nothing for now; what was sent still gets its outcome."""
        self._require("pause", State.RUNNING)
        self.state = State.PAUSED

    def resume(self, now: datetime) -> None:
        """Go on. One that its rule had stopped begins with a canary again, if it had any, and does not count what failed before."""
        self._require("resume", State.PAUSED, State.STOPPED)
        if self.state is State.STOPPED:
            self._count_anew(now)
        self.state = State.RUNNING
        self.detail = ""

    def cancel(self, now: datetime, why: str) -> None:
        """End it; what was sent still gets its outcome."""
        self._require("cancel", State.PLANNED, State.RUNNING, State.PAUSED, State.STOPPED)
        self._end(State.CANCELLED, now, why)

    def expire(self, now: datetime) -> None:
        """Forget a plan that nobody has started in time."""
        self._require("expire", State.PLANNED)
        self._end(State.EXPIRED, now, "nobody started it in time")

    def as_of(self, now: datetime) -> State:
        """Its state as people are told it: a plan has expired when its time is over, also before a worker has seen to it."""
        return State.EXPIRED if self.state is State.PLANNED and now >= self.expires_at else self.state

    def take(self, step: Trust | Stop | Finish, now: datetime) -> None:
        """Do what `next_step` decided."""
        self._require("go on", State.RUNNING)
        match step:
            case Trust():
                self.is_trusted = True
            case Stop(detail):
                self.state = State.STOPPED
                self.detail = detail
            case Finish():
                self._end(State.DONE, now, "")

    def next_step(self, progress: Progress, on_the_way_max: int) -> Step:
        """What to do now; at most `on_the_way_max` letters are without an outcome at any time, so that a rule has something to stop."""
        self._require("go on", State.RUNNING)
        room = on_the_way_max - progress.on_the_way
        if not self.is_trusted:
            return self._canary_step(progress, room)
        if progress.outcomes >= WINDOW_LEAST and self._is_too_much(progress.failures, progress.outcomes):
            return Stop(f"{progress.failures} of the last {progress.outcomes} failed again")
        if not progress.is_more_waiting:
            return Wait() if progress.on_the_way else Finish()
        return Send(room) if room > 0 else Wait()

    def _canary_step(self, progress: Progress, room: int) -> Step:
        assert self.pace.canary is not None
        left = self.pace.canary - progress.begun if progress.is_more_waiting else 0
        # As soon as no outcome of those that are missing could save it.
        if self._is_too_much(progress.failures, progress.begun + max(left, 0)):
            return Stop(f"{progress.failures} of the first {progress.begun} failed again")
        if left > 0 and room > 0:
            return Send(min(left, room))
        return Wait() if left > 0 or progress.on_the_way else Trust()

    def _is_too_much(self, failures: int, outcomes: int) -> bool:
        return failures * 100 > self.pace.stop_above_percent * outcomes

    def _count_anew(self, now: datetime) -> None:
        self.counted_since = now
        self.is_trusted = self.pace.canary is None

    def _end(self, state: State, now: datetime, detail: str) -> None:
        self.state = state
        self.ended_at = now
        self.detail = detail

    def _require(self, verb: str, *states: State) -> None:
        if self.state not in states:
            raise IllegalReplay(verb, f"it is {self.state}{f' ({self.detail})' if self.detail else ''}; possible from {', '.join(states)}")
