"""The story of an order in plain words, for people who never read this code: where it is, what it waits for, what failed, what to do.

Pure: everything was read before (looking.py), and the time is given.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, Field

from contracts.values import SagaId, TenantId
from infra.wire_values import Row
from sagas.advice import is_stuck, is_unsure, skipped_by, supplied, to_do, unsure
from sagas.engine.held import Held
from sagas.engine.history import Kind
from sagas.engine.instance import Asking, Instance, Phase, State, Status
from sagas.engine.narrative import sentence
from sagas.engine.outlook import is_past_return, name_of
from sagas.looking import Looked, insists, service_of, until
from sagas.wording import span, when

_WHERE: Final[Mapping[str, str]] = {
    State.RUNNING: "It is under way.",
    State.COMPENSATING: "It has turned back and undoes what was done.",
    State.ABANDONING: "Nothing is left to undo; what remains is to close it.",
    State.COMPLETING: "It is past the point of no return and finishes what is left; it can only go forward.",
    State.PARKED: "It is parked: a participant failed on it, and it waits until somebody has mended that. No other deadline runs.",
    State.NEEDS_ATTENTION: "It needs attention: it cannot go on alone.",
    State.PAUSED: "An operator has paused it: answers are noted, nothing is asked, no time runs.",
    State.COMPLETED: "It is done: every step that was needed was answered.",
    State.ABANDONED: "It was abandoned, and nothing is held for it any more.",
}
_WHERE_UNSURE: Final[Mapping[str, str]] = {
    State.COMPLETED: "It is done, and part of it is not sure.",
    State.ABANDONED: "It was abandoned, and it is not sure that nothing is held for it any more.",
}
"""Where it is if the participants have not answered for all of it, or have not answered in one way."""
_FAILURES: Final = {Kind.REFUSED, Kind.SILENT, Kind.FAULTED, Kind.CONTRADICTED, Kind.OVERTAKEN, Kind.OVERDUE, Kind.TRY_LATER}


class SagaStory(BaseModel):
    """One saga, told. Each list holds sentences."""

    saga_id: SagaId
    tenant_id: TenantId
    saga: str
    order: str
    state: str
    revision: int
    what: str
    where: list[str]
    waits_for: list[str]
    failed: list[str]
    undone: list[str]
    people: list[str]
    to_do: list[str] = Field(description="with the commands to type")


class Story(BaseModel):
    """Everything about what was asked for, the oldest saga first."""

    asked: str
    found_as: str = Field(description="order, saga, message or trace")
    sagas: list[SagaStory]


def story_of(asked: str, found_as: str, looked: list[Looked], now: datetime) -> Story:
    """The story of these sagas at `now`."""
    return Story(asked=asked, found_as=found_as, sagas=[_told(one, now) for one in looked])


def _told(looked: Looked, now: datetime) -> SagaStory:
    found = looked.found
    instance = looked.held.instance if looked.held else None
    return SagaStory(
        saga_id=found.id,
        tenant_id=found.tenant_id,
        saga=found.name,
        order=found.subject,
        state=found.state,
        revision=found.revision,
        what=f"Saga {found.name} (version {found.version}) of order {found.subject}, tenant {found.tenant_id};"
        f" started {when(found.started_at, now)}.",
        where=list(_where(looked, now)),
        waits_for=list(_waits_for(looked, looked.held, now)) if looked.held else [],
        failed=[_failure(event, now) for event in looked.events if event["kind"] in _FAILURES],
        undone=list(_undone(looked, instance)) if instance else [],
        people=_people(looked, now),
        to_do=list(to_do(looked, now)),
    )


def _where(looked: Looked, now: datetime) -> Iterator[str]:
    found = looked.found
    if looked.held is None:
        yield _WHERE.get(found.state, f"It is {found.state}.")
        yield f"More cannot be said: {looked.unreadable}."
        return
    saga, instance = looked.held.saga, looked.held.instance
    words = {**_WHERE, **(_WHERE_UNSURE if is_unsure(looked) else {})}
    yield words.get(found.state, f"It is {found.state}.")
    for asking in supplied(instance):
        yield f"{name_of(asking)} was taken as done on {skipped_by(looked, asking)}'s word."
    if instance.state.is_final and unsure(looked):
        yield "A participant has answered in a way that cannot be, or otherwise than an operator said: see what failed."
    if instance.why is not None:
        yield f"It turned back because of {instance.why}."
    elif not instance.state.is_final and is_past_return(saga, instance):
        yield "It is past the point of no return: it cannot be undone as a whole any more."
    if instance.state.is_final:
        yield f"It ended {when(found.progressed_at, now)}, {span(found.progressed_at - found.started_at)} after its start."
    elif is_stuck(looked, now):
        yield f"It is stuck: nothing has moved since {when(found.progressed_at, now)}."


def _waits_for(looked: Looked, held: Held, now: datetime) -> Iterator[str]:
    instance = held.instance
    if instance.state.is_final:
        return
    for asking in instance.outstanding:
        yield f"{name_of(asking)}: {_asked(asking, service_of(held, asking), now)}; {_until(held, asking, now)}."
    if instance.state is State.PARKED and looked.wake_at is not None:
        after = "needs attention" if is_past_return(held.saga, instance) else "is given up: it turns back"
        yield f"Somebody to mend the fault, until {when(looked.wake_at, now)}; then it {after}."
    elif looked.wake_at is not None and not any(asking.deadline == looked.wake_at for asking in instance.outstanding):
        yield f"The whole has time until {when(looked.wake_at, now)}."


def _asked(asking: Asking, service: str, now: datetime) -> str:
    times = "once" if asking.attempts == 1 else f"{asking.attempts} times"
    return f"asked {times} of {service}, first {when(asking.asked_at, now)}"


def _until(held: Held, asking: Asking, now: datetime) -> str:
    if asking.contradicted:
        return "answered in a way that cannot be, so nobody knows what is true"
    if asking.status is Status.FAULTED:
        return "the participant failed on it and has given it up"
    if asking.status is Status.SILENT:
        return "never answered, and not asked any more"
    deadline = until(held.instance, asking)
    if deadline is None:
        return "no answer yet; no time runs for it"
    again = asking.status is Status.RETRYING or insists(held, asking)
    if deadline < now:
        return f"no answer; {'it should have been asked again' if again else 'this try ended'} {when(deadline, now)}"
    return f"no answer yet; {'asked again' if again else 'this try ends'} {when(deadline, now)}"


def _failure(event: Row, now: datetime) -> str:
    told = f"{when(_time(event['at']), now)}: {_sentence(event)}"
    reply = json.loads(str(event["reply"])) if event["reply"] else {}
    fingerprint = reply.get("data", {}).get("fingerprint")
    return f"{told} Fingerprint {fingerprint}." if fingerprint else told


def _undone(looked: Looked, instance: Instance[Any, Any]) -> Iterator[str]:
    for asking in instance.askings:
        if asking.phase is Phase.UNDO:
            yield f"{asking.step}: {_came_of_undo(looked, asking)}."


def _came_of_undo(looked: Looked, asking: Asking) -> str:
    if asking.supplied:
        return f"its undo was taken as done on {skipped_by(looked, asking)}'s word"
    if asking.contradicted:
        return "its undo was answered in a way that cannot be"
    return "undone" if asking.is_settled else "its undo is not answered yet"


def _people(looked: Looked, now: datetime) -> list[str]:
    told = []
    for attempt in looked.attempts:
        came = "" if attempt["outcome"] == "DONE" else f" It came to nothing: {attempt['detail']}."
        told.append(f"{when(attempt['at'], now)}: {attempt['verb']} by {attempt['actor']}: {attempt['reason']}.{came}")
    return told


def _sentence(event: Row) -> str:
    return sentence(
        str(event["kind"]),
        step=_text(event["step"]),
        phase=_text(event["phase"]),
        attempt=event["attempt"] if isinstance(event["attempt"], int) else None,
        detail=str(event["detail"]),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _time(value: object) -> datetime:
    assert isinstance(value, datetime)
    return value
