"""One saga under way, as a frozen value, and the JSON that a row keeps of it. What happens next is machine.py's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar
from uuid import UUID, uuid5

from pydantic_core import from_json as read
from pydantic_core import to_json as written

from contracts import catalog
from contracts.messages import Message, Refusal, Reply
from contracts.values import SagaId, TenantId
from sagas.engine.definition import E, Saga, SoFar, W


class State(StrEnum):
    """Where the saga as a whole is. The last two are final."""

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    ABANDONING = "ABANDONING"
    COMPLETING = "COMPLETING"
    """Past the pivot: only forward."""
    PARKED = "PARKED"
    """A participant's bug: waits for people, up to `park_at_most`."""
    NEEDS_ATTENTION = "NEEDS_ATTENTION"
    """Cannot go on alone; keeps listening."""
    PAUSED = "PAUSED"
    """An operator holds it: answers are noted, nothing is asked, no time runs."""
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
    RETRYING = "RETRYING"
    """Silent, refused or faulted, and asked again at its deadline."""
    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    SILENT = "SILENT"
    """No answer in time; the saga has decided without it."""
    FAULTED = "FAULTED"


COMMAND_IDS_REMEMBERED: Final = 65_536
"""Ids kept between asking and answering; computing one anew costs more than the rest of finding what was asked."""
ABANDON_STEP: Final = "abandon"
"""The step name under which the abandoning is asked and remembered."""
T = TypeVar("T")
_SETTLED: Final = frozenset((Status.ANSWERED, Status.REFUSED))


@lru_cache(maxsize=COMMAND_IDS_REMEMBERED)
def command_id(saga_id: SagaId, phase: Phase, step: str, round_: int) -> UUID:
    """The message id of a command: the same each time it is asked again, so that participants remember their answer."""
    return uuid5(saga_id, f"{phase}:{step}:{round_}")


def _changed(of: T, changes: Mapping[str, Any]) -> T:
    """A copy with other values; `dataclasses.replace` takes ten times as long, two dozen times per order."""
    copy = object.__new__(type(of))
    copy.__dict__.update(of.__dict__)
    copy.__dict__.update(changes)
    return copy


@dataclass(frozen=True)
class Asking:
    """One command that was asked, and what became of it."""

    phase: Phase
    step: str
    asked_at: datetime
    deadline: datetime | None
    """When silence counts, or when it is asked again; None while no time runs."""
    status: Status = Status.WAITING
    round: int = 1
    """A refusal that is worth another try begins the next one, with a command id of its own; silence and faults do not."""
    attempts: int = 1
    reply: Reply | None = None
    contradicted: bool = False
    """It was answered with something impossible, or in two ways: whether it took effect is not known."""
    disputed: bool = False
    """It was contradicted, and nobody has said yet how to go on."""
    supplied: bool = False
    """An operator gave the answer, so the participant's own may be another."""

    def changed(self, **changes: Any) -> "Asking":
        """This asking with other values in these fields."""
        return _changed(self, changes)

    @property
    def is_settled(self) -> bool:
        """Whether its one real answer is known."""
        return self.status in _SETTLED

    @property
    def may_have_taken_effect(self) -> bool:
        """Whether going back has to undo it: not if its last answer was a refusal that nothing contradicts."""
        if self.contradicted:
            return True
        refused = self.status is Status.RETRYING and isinstance(self.reply, Refusal)
        return not refused and self.status is not Status.REFUSED


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
    paused_at: datetime | None = None
    held_at: datetime | None = None
    """Since when its time stands still, because it is paused or disputed; None while it runs."""
    progressed_at: datetime
    """When it was started, was answered or was acted on last; asking again is no progress."""
    askings: tuple[Asking, ...] = ()
    """In the order in which they were asked first."""
    not_needed: tuple[str, ...] = ()
    """Names of the steps whose `when` said no."""
    revision: int = 1
    wake_at: datetime | None = None
    """When `machine.timed_out` has something to do; None if never."""

    def asking(self, phase: Phase, step: str) -> Asking | None:
        for asking in self.askings:
            if asking.step == step and asking.phase is phase:
                return asking
        return None

    def asking_of(self, command: UUID) -> tuple[Asking, int] | None:
        """What was asked under that command id and in which round, if this saga asked it."""
        # What was asked last is what is answered next, nearly always.
        for asking in reversed(self.askings):
            for round_ in range(asking.round, 0, -1):
                if command_id(self.id, asking.phase, asking.step, round_) == command:
                    return asking, round_
        return None

    @property
    def outstanding(self) -> tuple[Asking, ...]:
        """What the way it goes still waits for: steps while it goes forward, undoing and abandoning on the way back."""
        forward = self.why is None
        return tuple(a for a in self.askings if (a.phase is Phase.ASK) is forward and not a.is_settled)

    @property
    def is_held(self) -> bool:
        """Whether it takes note of answers only, until an operator lets it go on."""
        return self.held_at is not None

    @property
    def is_disputed(self) -> bool:
        """Whether people have to say how to go on after a contradiction."""
        return any(asking.disputed for asking in self.askings)

    def changed(self, **changes: Any) -> "Instance[E, W]":
        """This instance with other values in these fields."""
        return _changed(self, changes)

    def with_asking(self, changed: Asking) -> "Instance[E, W]":
        """This instance with one asking changed, or added at the end."""
        if self.asking(changed.phase, changed.step) is None:
            return self.changed(askings=(*self.askings, changed))
        return self.changed(askings=tuple(changed if a.phase is changed.phase and a.step == changed.step else a for a in self.askings))

    @property
    def so_far(self) -> SoFar:
        """The successful answers to the steps."""
        return SoFar(tuple([a.reply for a in self.askings if a.status is Status.ANSWERED and a.phase is Phase.ASK and a.reply is not None]))


def to_json(instance: Instance[E, W], name_of: Callable[[type[Message]], str] = catalog.name_of) -> str:
    """What changes during the instance's life, as JSON. Replies carry the name they travel under."""

    def asking(a: Asking) -> dict[str, Any]:
        facts = {
            "phase": a.phase.value,
            "step": a.step,
            "status": a.status.value,
            "round": a.round,
            "attempts": a.attempts,
            "asked_at": a.asked_at,
            "deadline": a.deadline,
            "reply": None if a.reply is None else {"type": name_of(type(a.reply)), "data": a.reply},
        }
        if a.contradicted or a.disputed or a.supplied:
            facts |= {name: True for name in ("contradicted", "disputed", "supplied") if getattr(a, name)}
        return facts

    changing = {
        "state": instance.state.value,
        "why": instance.why,
        "deadline": instance.deadline,
        "parked_at": instance.parked_at,
        "paused_at": instance.paused_at,
        "held_at": instance.held_at,
        "progressed_at": instance.progressed_at,
        "askings": [asking(a) for a in instance.askings],
        "not_needed": instance.not_needed,
        "revision": instance.revision,
        "wake_at": instance.wake_at,
    }
    return written(changing).decode()


def from_json(
    saga: Saga[E, W],
    instance_id: SagaId,
    tenant_id: TenantId,
    order: E,
    text: str,
    class_of: Callable[[str], type[Message]] = catalog.class_of,
) -> Instance[E, W]:
    """The instance that `to_json` wrote, given what never changes of it; also one that an older release wrote."""

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
            contradicted=a.get("contradicted", False),
            disputed=a.get("disputed", False),
            supplied=a.get("supplied", False),
        )

    data = read(text)
    askings = tuple(asking(a) for a in data["askings"])
    return Instance(
        id=instance_id,
        tenant_id=tenant_id,
        name=saga.name,
        version=saga.version,
        order=order,
        state=State(data["state"]),
        why=None if data["why"] is None else saga.reasons(data["why"]),
        deadline=datetime.fromisoformat(data["deadline"]),
        parked_at=_time(data["parked_at"]),
        paused_at=_time(data.get("paused_at")),
        held_at=_time(data.get("held_at")),
        progressed_at=_time(data.get("progressed_at")) or askings[-1].asked_at,
        askings=askings,
        not_needed=tuple(data.get("not_needed", ())),
        revision=data["revision"],
        wake_at=_time(data["wake_at"]),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
