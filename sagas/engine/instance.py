"""One saga under way, as a frozen value, and the JSON that a row keeps of it. What happens next is machine.py's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Generic
from uuid import UUID, uuid5

from contracts import catalog
from contracts.messages import Message, Reply
from contracts.values import SagaId, TenantId
from sagas.engine.definition import E, Saga, SoFar, W


class State(StrEnum):
    """Where the saga as a whole is. The last two are final."""

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    ABANDONING = "ABANDONING"
    PARKED = "PARKED"
    """A participant's bug: waits for people, up to `park_at_most`."""
    NEEDS_ATTENTION = "NEEDS_ATTENTION"
    """Cannot go on alone; keeps listening."""
    COMPLETED = "COMPLETED"
    ABANDONED = "ABANDONED"

    @property
    def is_final(self) -> bool:
        return self in (State.COMPLETED, State.ABANDONED)


class Phase(StrEnum):
    """What a participant is asked for: to do a step, to undo it, or to abandon the whole."""

    ASK = "ask"
    UNDO = "undo"
    ABANDON = "abandon"


class Status(StrEnum):
    """How far one asking has come."""

    WAITING = "WAITING"
    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    SILENT = "SILENT"
    """No answer in time; the saga has decided without it."""
    FAULTED = "FAULTED"


COMMAND_IDS_REMEMBERED: Final = 16_384
"""Ids kept between asking and answering; computing one anew costs more than the rest of finding what was asked."""
ABANDON_STEP: Final = "abandon"
"""The step name under which the abandoning is asked and remembered."""


@lru_cache(maxsize=COMMAND_IDS_REMEMBERED)
def command_id(saga_id: SagaId, phase: Phase, step: str, round_: int) -> UUID:
    """The message id of a command: the same each time it is asked again, so that participants remember their answer."""
    return uuid5(saga_id, f"{phase}:{step}:{round_}")


@dataclass(frozen=True, slots=True)
class Asking:
    """One command that was asked, and what became of it."""

    phase: Phase
    step: str
    asked_at: datetime
    deadline: datetime | None
    """When silence counts; None while nobody waits for the answer."""
    status: Status = Status.WAITING
    round: int = 1
    attempts: int = 1
    reply: Reply | None = None

    @property
    def is_settled(self) -> bool:
        """Whether its one real answer is known."""
        return self.reply is not None and self.status is not Status.FAULTED


@dataclass(frozen=True, kw_only=True)
class Instance(Generic[E, W]):
    """One saga under way. `revision` counts the changes; all times are aware and UTC."""

    id: SagaId
    tenant_id: TenantId
    name: str
    version: int
    order: E
    """The event that started it."""
    state: State = State.RUNNING
    why: W | None = None
    """Why it is abandoned; None as long as it goes forward."""
    deadline: datetime
    parked_at: datetime | None = None
    askings: tuple[Asking, ...] = ()
    """In the order in which they were asked first."""
    revision: int = 1
    wake_at: datetime | None = None
    """When `machine.timed_out` has something to do; None if never."""

    def asking(self, phase: Phase, step: str) -> Asking | None:
        for asking in self.askings:
            if asking.step == step and asking.phase is phase:
                return asking
        return None

    def asking_of(self, command: UUID) -> Asking | None:
        """What was asked under that command id, if this saga asked it."""
        return next((a for a in self.askings if command_id(self.id, a.phase, a.step, a.round) == command), None)

    def changed(self, **changes: Any) -> "Instance[E, W]":
        """This instance with other values in these fields. `dataclasses.replace` takes ten times as long, a dozen times per order."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changes)
        return copy

    def with_asking(self, changed: Asking) -> "Instance[E, W]":
        """This instance with one asking changed, or added at the end."""
        if self.asking(changed.phase, changed.step) is None:
            return self.changed(askings=(*self.askings, changed))
        return self.changed(askings=tuple(changed if a.phase is changed.phase and a.step == changed.step else a for a in self.askings))

    @property
    def so_far(self) -> SoFar:
        """The successful answers to the steps."""
        answered = (a.reply for a in self.askings if a.phase is Phase.ASK and a.status is Status.ANSWERED)
        return SoFar(tuple(reply for reply in answered if reply is not None))


def to_json(instance: Instance[E, W], name_of: Callable[[type[Message]], str] = catalog.name_of) -> dict[str, Any]:
    """What changes during the instance's life, as JSON. Replies carry the name they travel under."""

    def asking(a: Asking) -> dict[str, Any]:
        reply = None if a.reply is None else {"type": name_of(type(a.reply)), "data": a.reply.model_dump(mode="json")}
        facts = {"phase": a.phase, "step": a.step, "status": a.status, "round": a.round, "attempts": a.attempts}
        return {**facts, "asked_at": _text(a.asked_at), "deadline": _text(a.deadline), "reply": reply}

    return {
        "state": instance.state,
        "why": instance.why,
        "deadline": _text(instance.deadline),
        "parked_at": _text(instance.parked_at),
        "askings": [asking(a) for a in instance.askings],
        "revision": instance.revision,
        "wake_at": _text(instance.wake_at),
    }


def from_json(
    saga: Saga[E, W],
    instance_id: SagaId,
    tenant_id: TenantId,
    order: E,
    data: Mapping[str, Any],
    class_of: Callable[[str], type[Message]] = catalog.class_of,
) -> Instance[E, W]:
    """The instance that `to_json` wrote, given what never changes of it."""

    def asking(a: Mapping[str, Any]) -> Asking:
        reply = None if a["reply"] is None else class_of(a["reply"]["type"]).received(a["reply"]["data"])
        assert reply is None or isinstance(reply, Reply)
        return Asking(
            phase=Phase(a["phase"]),
            step=a["step"],
            asked_at=datetime.fromisoformat(a["asked_at"]),
            deadline=_time(a["deadline"]),
            status=Status(a["status"]),
            round=a["round"],
            attempts=a["attempts"],
            reply=reply,
        )

    return Instance(
        id=instance_id,
        tenant_id=tenant_id,
        name=saga.name,
        version=saga.version,
        order=order,
        state=State(data["state"]),
        why=None if data["why"] is None else type(saga.fault)(data["why"]),
        deadline=datetime.fromisoformat(data["deadline"]),
        parked_at=_time(data["parked_at"]),
        askings=tuple(asking(a) for a in data["askings"]),
        revision=data["revision"],
        wake_at=_time(data["wake_at"]),
    )


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
