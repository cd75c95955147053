"""What happened to a saga, as facts that are only ever appended."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from contracts.messages import Reply
from sagas.engine.instance import Phase


class Kind(StrEnum):
    """What a fact is about."""

    STARTED = "STARTED"
    ASKED = "ASKED"
    ASKED_AGAIN = "ASKED_AGAIN"
    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    TRY_LATER = "TRY_LATER"
    """Silence, a refusal or a fault that is worth another try after a pause."""
    SILENT = "SILENT"
    FAULTED = "FAULTED"
    LATE = "LATE"
    """An answer that came after the saga had decided without it."""
    CONTRADICTED = "CONTRADICTED"
    """An answer that cannot be, or another one than before."""
    OVERTAKEN = "OVERTAKEN"
    """What the participant answered itself, after an operator had given the answer."""
    OVERDUE = "OVERDUE"
    """The saga's own deadline passed before the pivot was asked."""
    PARKED = "PARKED"
    RESUMED = "RESUMED"
    """What had parked it was answered."""
    COMPENSATING = "COMPENSATING"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"
    COMPLETED = "COMPLETED"
    ABANDONED = "ABANDONED"
    # What operators do
    RETRIED = "RETRIED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"
    UNPAUSED = "UNPAUSED"


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact. `step` and `phase` are None for facts about the saga as a whole; `detail` says why, in words or names."""

    kind: Kind
    at: datetime
    step: str | None = None
    phase: Phase | None = None
    attempt: int | None = None
    detail: str = ""
    reply: Reply | None = None
    """The answer that caused this fact."""
    actor: str | None = None
    """The operator who caused it."""
    reason: str | None = None
    """Why, in the operator's words."""
    message_id: UUID | None = None
    """Of the event that started the saga, and of each command when it is asked first."""
