"""What happened to a saga, as facts that are only ever appended."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts.messages import Reply
from sagas.engine.instance import Phase


class Kind(StrEnum):
    """What a fact is about."""

    STARTED = "STARTED"
    ASKED = "ASKED"
    ASKED_AGAIN = "ASKED_AGAIN"
    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    SILENT = "SILENT"
    FAULTED = "FAULTED"
    LATE = "LATE"
    """An answer that came after the saga had decided without it."""
    OVERDUE = "OVERDUE"
    """The saga's own deadline passed before the pivot was asked."""
    PARKED = "PARKED"
    RESUMED = "RESUMED"
    COMPENSATING = "COMPENSATING"
    NEEDS_ATTENTION = "NEEDS_ATTENTION"
    COMPLETED = "COMPLETED"
    ABANDONED = "ABANDONED"


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
