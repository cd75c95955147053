"""The story of an order in plain words, for people who never read this code: where it is, what it waits for, what failed, what to do.

Pure: everything was read before (looking.py), and the time is given.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field

from contracts.values import SagaId, TenantId
from sagas.engine.history import Kind
from sagas.engine.instance import Asking, Instance, Phase, State, Status
from sagas.engine.narrative import sentence
from sagas.engine.outlook import is_past_return, name_of
from sagas.engine.verbs import Verb, why_not
from sagas.looking import Looked, until

_WHERE: Final[Mapping[str, str]] = {
    State.RUNNING: "It is under way.",
    State.COMPENSATING: "It has turned back and undoes what was done.",
    State.ABANDONING: "Everything is undone; what remains is to close it.",
    State.COMPLETING: "It is past the point of no return and finishes what is left; it can only go forward.",
    State.PARKED: "It is parked: a participant failed on it, and it waits until somebody has mended that. No other deadline runs.",
    State.NEEDS_ATTENTION: "It needs attention: it cannot go on alone.",
    State.PAUSED: "An operator has paused it: answers are noted, nothing is asked, no time runs.",
    State.COMPLETED: "It is done: every step that was needed was answered.",
    State.ABANDONED: "It was abandoned, and nothing is held for it any more.",
}
_FAILURES: Final = {Kind.REFUSED, Kind.SILENT, Kind.FAULTED, Kind.CONTRADICTED, Kind.OVERDUE, Kind.TRY_LATER}


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


def span(length: timedelta) -> str:
    """How long, to the two largest units: `1 h 3 min`."""
    seconds = int(abs(length).total_seconds())
    if seconds < 1:
        return f"{abs(length) // timedelta(milliseconds=1)} ms"
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
    return " ".join(parts[:2])


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
        f" started {_when(found.started_at, now)}.",
        where=list(_where(looked, now)),
        waits_for=list(_waits_for(looked, instance, now)) if instance else [],
        failed=[_failure(event, now) for event in looked.events if event["kind"] in _FAILURES],
        undone=list(_undone(instance)) if instance else [],
        people=_people(looked, now),
        to_do=list(_to_do(looked, now)),
    )


def _where(looked: Looked, now: datetime) -> Iterator[str]:
    found = looked.found
    yield _WHERE.get(found.state, f"It is {found.state}.")
    if looked.held is None:
        yield f"More cannot be said: {looked.unreadable}."
        return
    saga, instance = looked.held.saga, looked.held.instance
    if instance.why is not None:
        yield f"It turned back because of {instance.why}."
    elif not instance.state.is_final and is_past_return(saga, instance):
        yield "It is past the point of no return: it cannot be undone as a whole any more."
    if instance.state.is_final:
        yield f"It ended {_when(found.progressed_at, now)}, {span(found.progressed_at - found.started_at)} after its start."
    elif found.stuck_at is not None and found.stuck_at < now:
        yield f"It is stuck: nothing has moved since {_when(found.progressed_at, now)}."


def _waits_for(looked: Looked, instance: Instance, now: datetime) -> Iterator[str]:  # type: ignore[type-arg]  # of any saga
    if instance.state.is_final:
        return
    for asking in instance.outstanding:
        yield f"{name_of(asking)}: {_asked(asking, now)}; {_until(asking, until(instance, asking), now)}."
    if instance.state is State.PARKED and looked.wake_at is not None:
        yield f"Somebody to mend the fault, until {_when(looked.wake_at, now)}; then it is given up."
    elif looked.wake_at is not None and not any(asking.deadline == looked.wake_at for asking in instance.outstanding):
        yield f"The whole has time until {_when(looked.wake_at, now)}."


def _asked(asking: Asking, now: datetime) -> str:
    times = "once" if asking.attempts == 1 else f"{asking.attempts} times"
    return f"asked {times}, first {_when(asking.asked_at, now)}"


def _until(asking: Asking, deadline: datetime | None, now: datetime) -> str:
    if asking.contradicted:
        return "answered in a way that cannot be, so nobody knows what is true"
    if asking.status is Status.FAULTED:
        return "the participant failed on it and has given it up"
    if asking.status is Status.SILENT:
        return "never answered, and not asked any more"
    if deadline is None:
        return "no answer yet; no time runs for it"
    insists = asking.status is Status.RETRYING or asking.phase is not Phase.ASK
    return f"no answer yet; {'asked again' if insists else 'this try ends'} {_when(deadline, now)}"


def _failure(event: Mapping[str, object], now: datetime) -> str:
    told = f"{_when(_time(event['at']), now)}: {_sentence(event)}"
    reply = json.loads(str(event["reply"])) if event["reply"] else {}
    fingerprint = reply.get("data", {}).get("fingerprint")
    return f"{told} Fingerprint {fingerprint}." if fingerprint else told


def _undone(instance: Instance) -> Iterator[str]:  # type: ignore[type-arg]  # of any saga
    for asking in instance.askings:
        if asking.phase is Phase.UNDO:
            yield f"{asking.step}: {'undone' if asking.is_settled else 'its undo is not answered yet'}."


def _people(looked: Looked, now: datetime) -> list[str]:
    told = []
    for attempt in looked.attempts:
        came = "" if attempt["outcome"] == "DONE" else f" It came to nothing: {attempt['detail']}."
        told.append(f"{_when(attempt['at'], now)}: {attempt['verb']} by {attempt['actor']}: {attempt['reason']}.{came}")
    return told


def _to_do(looked: Looked, now: datetime) -> Iterator[str]:
    found = looked.found
    if looked.held is None:
        yield "Run a release that has its definition beside this one; that release moves it."
        return
    instance = looked.held.instance
    if instance.state.is_final:
        yield "Nothing."
        return
    legal = {verb for verb, why in why_not(looked.held.saga, instance).items() if why is None}
    for_people = instance.state in (State.PARKED, State.NEEDS_ATTENTION, State.PAUSED)
    if not for_people and not (found.stuck_at is not None and found.stuck_at < now):
        yield "Nothing: it goes on alone."
        return
    if Verb.RESUME in legal:
        yield f"Let it go on: {_command(Verb.RESUME, found.id)}"
    if Verb.RETRY in legal:
        first = "Mend what failed, then ask again" if found.fingerprint else "See that who is asked runs, then ask again"
        yield f"{first}: {_command(Verb.RETRY, found.id)}"
    if found.fingerprint and Verb.RETRY in legal:
        yield f"All that the same fault stopped: oaas saga retry --fingerprint {found.fingerprint} --reason '...' --dry-run"
    if Verb.SKIP in legal and for_people:
        step = name_of(instance.outstanding[0])
        yield f"It was done by hand: {_command(Verb.SKIP, found.id)} --step '{step}' --answer '{{...}}'"
    if Verb.CANCEL in legal:
        yield f"Undo everything: {_command(Verb.CANCEL, found.id)}"


def _command(verb: Verb, id: UUID) -> str:
    return f"oaas saga {verb} {id} --reason '...'"


def _sentence(event: Mapping[str, object]) -> str:
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


def _when(at: datetime, now: datetime) -> str:
    """`12:00:03Z (5 s ago)`, with the day if it is another."""
    shown = at.strftime("%H:%M:%SZ" if at.date() == now.date() else "%Y-%m-%d %H:%M:%SZ")
    return f"{shown} ({span(now - at)} ago)" if at <= now else f"{shown} (in {span(at - now)})"
