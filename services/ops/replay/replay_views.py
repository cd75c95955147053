"""What operators send and see of replays, as JSON."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from contracts.values import TenantId
from infra.http import Timestamp
from infra.unscoped.replays import FoundItem, Tally
from services.ops.desk.masking import masked_text
from services.ops.desk.model import State as LetterState
from services.ops.desk.searching import LetterFilter
from services.ops.replay.machine import ItemState, Pace, Replay, State
from services.ops.replay.parts import Part
from services.ops.replay.replays import Item

NAMED_MAX: Final = 1_000
"""Letters that can be named one by one."""
RATE_MAX: Final = 1_000
CANARY_MAX: Final = 1_000
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class ReplayFilter(LetterFilter):
    """Which letters are replayed; `all` says that it shall be every one, which an empty filter does not."""

    all: bool = Field(False, description="every open letter; nothing else may be said then")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        said = LetterFilter(**self.model_dump(exclude={"all"}))
        if said.says_nothing is not self.all:
            raise ValueError('says either {"all": true}, or at least one condition: everything there is must be meant')
        if self.state is not None and not self.state.is_open:
            raise ValueError(f"state must be {LetterState.DEAD} or {LetterState.REPLAYING}: restore what is archived first")
        return self


class ReplayQuery(BaseModel):
    """A page of the replays."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    cursor: str | None = None
    limit: int = Field(20, ge=1, le=100, description="how many items at most")


class OutcomeQuery(BaseModel):
    """A page of one replay's outcomes."""

    model_config = ConfigDict(extra="forbid")

    state: ItemState | None = None
    cursor: int = Field(0, ge=0, le=2**31 - 1)
    limit: int = Field(100, ge=1, le=1000, description="how many items at most")


class PlanReplay(BaseModel):
    """A dry run, which can be started afterwards: by a filter, or of named letters."""

    model_config = ConfigDict(extra="forbid")

    filter: ReplayFilter | None = None
    letters: list[UUID] | None = Field(None, min_length=1, max_length=NAMED_MAX)
    reason: Reason
    include_ended: bool = Field(False, description="also letters of sagas that have ended")
    include_held_back: bool = Field(False, description="also letters that were replayed in vain three times")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.filter is None) is (self.letters is None):
            raise ValueError("give either filter or letters")
        return self

    @property
    def said(self) -> str:
        """What was asked for, as JSON."""
        if self.letters is not None:
            return json.dumps({"letters": [str(id) for id in self.letters]})
        assert self.filter is not None
        return json.dumps({"filter": self.filter.model_dump(mode="json", exclude_none=True, exclude_defaults=True)})


class StartReplay(BaseModel):
    """How it goes."""

    model_config = ConfigDict(extra="forbid")

    rate: int = Field(Pace().rate, strict=True, ge=1, le=RATE_MAX, description="letters per second")
    canary: int | None = Field(None, strict=True, ge=1, le=CANARY_MAX, description="so many go first, and the others only if those live")
    stop_above_percent: int = Field(
        Pace().stop_above_percent, strict=True, ge=0, le=100, description="stop when more of the newest outcomes failed again"
    )
    reason: Reason | None = Field(None, description="the plan's, if it is left out")

    @property
    def pace(self) -> Pace:
        return Pace(self.rate, self.canary, self.stop_above_percent)


class Because(BaseModel):
    """Why an operator does it."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class PlanView(BaseModel):
    """A plan: what would be sent, and what an operator should know before it is."""

    id: UUID
    tenant: TenantId | None = Field(description="of a tenant's operator; null for one of the platform")
    state: State
    actor: str
    reason: str
    filter: dict[str, Any]
    total: int
    by_queue: dict[str, int]
    by_tenant: dict[str, int]
    by_type: dict[str, int]
    left_out: dict[str, int] = Field(description="why letters that fit are not in the plan, and how many")
    warnings: list[str]
    sample: list[UUID]
    planned_at: Timestamp
    expires_at: Timestamp = Field(description="until when it can be started")

    @classmethod
    def of(cls, replay: Replay) -> "PlanView":
        return cls(**_plan(replay))


class ReplayView(PlanView):
    """A plan, and how far its replay has come. Of one by the platform's operators a tenant sees the part of its own letters only."""

    rate: int
    canary: int | None
    stop_above_percent: int
    waiting: int
    sent: int = Field(description="on their way: whoever reads their queue has not told yet what came of them")
    settled: int
    known: int = Field(description="their service had handled them before: nothing was changed")
    failed: int
    left_out_now: int = Field(description="left out when their turn came, because they were no longer as planned")
    cancelled: int = Field(description="not sent, because the replay was cancelled before their turn came")
    waiting_for: dict[str, int] = Field(description="queues that letters were sent to which have no outcome yet")
    detail: str = Field(description="why it stands as it does")
    started_at: Timestamp | None
    ended_at: Timestamp | None
    is_over: bool

    @classmethod
    def whole(cls, replay: Replay, tally: Tally, now: datetime) -> "ReplayView":
        """The plan with the counts of its items."""
        counts = {state: tally.states.get(state, 0) for state in ItemState}
        services = sorted({queue.partition(".")[0] for queue in tally.on_the_way})
        return cls(
            **_plan(replay) | {"state": replay.as_of(now)},
            rate=replay.pace.rate,
            canary=replay.pace.canary,
            stop_above_percent=replay.pace.stop_above_percent,
            waiting=counts[ItemState.WAITING],
            sent=counts[ItemState.SENT],
            settled=counts[ItemState.SETTLED],
            known=counts[ItemState.KNOWN],
            failed=counts[ItemState.FAILED],
            left_out_now=counts[ItemState.LEFT_OUT],
            cancelled=counts[ItemState.CANCELLED],
            waiting_for=tally.on_the_way,
            detail=replay.detail or (f"waiting for {', '.join(services)}" if services else ""),
            started_at=replay.started_at,
            ended_at=replay.ended_at,
            is_over=replay.as_of(now).is_over,
        )

    @classmethod
    def part(cls, replay: Replay, part: Part, tally: Tally, now: datetime) -> "ReplayView":
        """What a tenant may know of a replay that is another's: who, why, how far its own letters are; nothing counts or names others."""
        whole = cls.whole(replay, tally, now)
        # Why it stopped is told with counts of all letters.
        detail = "too many letters failed again" if replay.state is State.STOPPED else whole.detail
        said: dict[str, Any] = {"actor": part.started_by or part.planned_by, "reason": part.reason, "total": part.total, "detail": detail}
        hidden: dict[str, Any] = {"filter": {}, "by_queue": {}, "by_type": {}, "left_out": {}, "warnings": [], "sample": []}
        return whole.model_copy(update={**said, **hidden, "by_tenant": {}})


class ReplayPage(BaseModel):
    """The newest first."""

    replays: list[ReplayView]
    next: str | None


class OutcomeView(BaseModel):
    """What came of one letter."""

    letter_id: UUID
    tenant: TenantId
    state: ItemState
    detail: str
    sent_at: Timestamp | None
    ended_at: Timestamp | None

    @classmethod
    def of(cls, found: FoundItem, item: Item) -> "OutcomeView":
        told: dict[str, datetime | None] = {"sent_at": item.sent_at, "ended_at": item.ended_at}
        return cls(letter_id=item.letter_id, tenant=found.tenant_id, state=item.state, detail=masked_text(item.detail), **told)


class OutcomePage(BaseModel):
    """In the order of the plan."""

    outcomes: Sequence[OutcomeView]
    next: str | None


def _plan(replay: Replay) -> dict[str, Any]:
    names = ("id", "state", "actor", "reason", "total", "planned_at", "expires_at")
    own = {name: getattr(replay, name) for name in names}
    tenant = None if replay.is_of_the_platform else replay.tenant_id
    summary: dict[str, Any] = json.loads(replay.summary)
    return own | {"tenant": tenant, "filter": json.loads(replay.filter)} | summary
