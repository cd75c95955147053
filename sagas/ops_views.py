"""What operators send and see of sagas, as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

from contracts.values import SagaId, TenantId
from infra.http import Timestamp
from infra.unscoped.sagas import FoundSaga
from sagas.advice import is_unsure
from sagas.engine.history import Kind
from sagas.engine.narrative import sentence
from sagas.engine.outlook import name_of
from sagas.engine.verbs import Verb, why_not
from sagas.looking import Looked, until
from sagas.many import ActedOn, DryRun
from sagas.operating import Outcome, Result
from sagas.search import Page, SagaFilter, Word

_LISTED_MAX = 100
"""Refused sagas that one answer names."""
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class SagaQuery(SagaFilter):
    """A page of the list."""

    cursor: str | None = None
    limit: int = Field(50, ge=1, le=200, description="how many items at most")

    @property
    def asked(self) -> SagaFilter:
        return SagaFilter(**self.model_dump(exclude={"cursor", "limit"}))


class ActOnOne(BaseModel):
    """A verb on one saga: why, and the revision it was looked at."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
    revision: StrictInt = Field(ge=1, description="`revision` as last seen: nothing is done if the saga has moved since")


class Supplied(BaseModel):
    """What skip takes as the step's answer."""

    step: Word | None = Field(None, description="may be left out if only one answer is missing")
    answer: dict[str, Any] | None = Field(None, description="the fields of the command's success")


class SkipOne(ActOnOne, Supplied):
    """Skip on one saga."""


class ActOnMany(BaseModel):
    """A verb on all open sagas that fit the filter."""

    model_config = ConfigDict(extra="forbid")

    filter: SagaFilter
    reason: Reason
    dry_run: bool = True
    as_of: Timestamp | None = Field(None, description="of the dry run: what has moved since is left out; required when dry_run is false")
    after: UUID | None = Field(None, description="`next` of the call before, to go on after it")


class SkipMany(ActOnMany, Supplied):
    """Skip on many sagas."""


class SagaSummary(BaseModel):
    """A saga in a list."""

    id: SagaId
    tenant_id: TenantId
    saga: str
    version: int
    order: str = Field(description="what it is about")
    state: str
    step: str | None = Field(description="what it waits for")
    fingerprint: str | None = Field(description="of the fault that stopped it")
    stuck: bool = Field(description="no progress for longer than its deadline")
    started_at: Timestamp
    progressed_at: Timestamp
    revision: int

    @classmethod
    def of(cls, found: FoundSaga, at: datetime) -> "SagaSummary":
        return cls(**_summary(found, at))


class SagaPage(BaseModel):
    """What waits for people first, then what is stuck, then the rest; the newest of each first."""

    items: list[SagaSummary]
    next: str | None
    at: Timestamp = Field(description="when the first page was asked for, which is what stuck and ages are measured at")

    @classmethod
    def of(cls, page: Page) -> "SagaPage":
        return cls(items=[SagaSummary.of(found, page.at) for found in page.found], next=page.following, at=page.at)


class Outstanding(BaseModel):
    """One answer that is missing."""

    step: str
    status: str
    attempts: int
    asked_at: Timestamp
    until: Timestamp | None = Field(description="when silence counts, or when it is asked again; null while no time runs")


class Fact(BaseModel):
    """One thing that happened."""

    number: int
    at: Timestamp
    kind: str
    step: str | None
    phase: str | None
    attempt: int | None
    words: str
    detail: str
    actor: str | None
    reason: str | None
    trace_id: str | None
    message_id: UUID | None


class Attempt(BaseModel):
    """What an operator tried, whatever came of it."""

    at: Timestamp
    actor: str
    verb: str
    outcome: Result
    reason: str
    detail: str


class Legality(BaseModel):
    """Whether a verb can be done now."""

    verb: Verb
    legal: bool
    why_not: str | None


class SagaView(SagaSummary):
    """A saga as a whole."""

    at: Timestamp = Field(description="the time of this answer")
    why: str | None = Field(description="why it turned back")
    wakes_at: Timestamp | None = Field(description="when it does something by itself")
    unreadable: str | None = Field(description="why this release cannot read it")
    outstanding: list[Outstanding]
    verbs: list[Legality]
    events: list[Fact]
    attempts: list[Attempt]

    @classmethod
    def whole(cls, looked: Looked, at: datetime) -> "SagaView":
        held = looked.held
        missing = [] if held is None or held.instance.state.is_final else [(held.instance, one) for one in held.instance.outstanding]
        return cls(
            **_summary(looked.found, at),
            at=at,
            why=held.instance.why.value if held and held.instance.why else None,
            wakes_at=looked.wake_at,
            unreadable=looked.unreadable,
            outstanding=[
                Outstanding(step=name_of(one), status=one.status, attempts=one.attempts, asked_at=one.asked_at, until=until(instance, one))
                for instance, one in missing
            ],
            verbs=_legalities(looked),
            events=[_fact(event, is_sure=not is_unsure(looked)) for event in looked.events],
            attempts=[Attempt(**{name: attempt[name] for name in Attempt.model_fields}) for attempt in looked.attempts],
        )


class CountsView(BaseModel):
    """How many open sagas fit, and which: counted at `as_of`, nothing done."""

    dry_run: bool = True
    as_of: Timestamp
    total: int
    by_state: dict[str, int]
    by_step: dict[str, int]
    by_tenant: dict[str, int]
    by_saga: dict[str, int]
    sample: list[SagaId]

    @classmethod
    def of(cls, dry: DryRun) -> "CountsView":
        counts = dry.counts
        tallies = {"by_state": counts.state, "by_step": counts.step, "by_tenant": counts.tenant, "by_saga": counts.saga}
        return cls(
            as_of=dry.as_of, total=counts.total, sample=dry.sample, **{name: dict(one.most_common()) for name, one in tallies.items()}
        )


class NotDone(BaseModel):
    """A saga that stays as it is."""

    id: SagaId
    outcome: Result
    why: str


class ActedOnView(BaseModel):
    """What one call came to. With `more`, send it again with `after` set to `next`."""

    dry_run: bool = False
    done: int
    refused: int = Field(description="with failed ones; `not_done` says why")
    moved: int = Field(description="left out, because they moved since as_of")
    not_done: list[NotDone] = Field(description=f"at most {_LISTED_MAX}; `operator_audit` has them all")
    more: bool
    next: UUID | None

    @classmethod
    def of(cls, acted: ActedOn) -> "ActedOnView":
        refused = acted.of(Result.REFUSED, Result.FAILED)
        moved = acted.of(Result.MOVED)
        return cls(
            done=len(acted.of(Result.DONE)),
            refused=len(refused),
            moved=len(moved),
            not_done=[_not_done(outcome) for outcome in (refused + moved)[:_LISTED_MAX]],
            more=acted.following is not None,
            next=acted.following,
        )


def _not_done(outcome: Outcome) -> NotDone:
    return NotDone(id=outcome.saga_id, outcome=outcome.result, why=outcome.detail)


def _summary(found: FoundSaga, at: datetime) -> dict[str, Any]:
    names = ("id", "tenant_id", "version", "state", "step", "fingerprint", "started_at", "progressed_at", "revision")
    stuck = found.stuck_at is not None and found.stuck_at < at
    return {name: getattr(found, name) for name in names} | {"saga": found.name, "order": found.subject, "stuck": stuck}


def _legalities(looked: Looked) -> Sequence[Legality]:
    if looked.held is None:
        return [Legality(verb=verb, legal=False, why_not=looked.unreadable) for verb in Verb]
    reasons = why_not(looked.held.saga, looked.held.instance)
    return [Legality(verb=verb, legal=why is None, why_not=why) for verb, why in reasons.items()]


def _fact(event: Any, *, is_sure: bool) -> Fact:
    told = {name: event[name] for name in ("step", "phase", "attempt", "detail", "actor", "reason")}
    words = sentence(event["kind"], **told)
    if event["kind"] == Kind.ABANDONED and not is_sure:
        words = f"Abandoned, because of {event['detail']}. It is not sure that nothing is held any more."
    return Fact(**{name: event[name] for name in Fact.model_fields if name != "words"}, words=words)
