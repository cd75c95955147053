"""A saga in the hands of a transaction: its row is locked, and what moves it folds into one write."""

from dataclasses import dataclass, field
from typing import Any

from sagas.engine.definition import Saga
from sagas.engine.history import Entry
from sagas.engine.instance import Instance
from sagas.engine.moving import Ask, Moved


@dataclass
class Held:
    """One saga of the group, its row locked (or about to be inserted), and what has moved it so far."""

    saga: Saga[Any, Any]
    instance: Instance[Any, Any]
    subject: str
    is_new: bool = False
    events: int = 0
    """Length of the history so far."""
    before: Instance[Any, Any] | None = None
    """As it was when it was locked; None for a new one."""
    asks: list[tuple[Ask, str | None]] = field(default_factory=list)
    entries: list[tuple[Entry, str | None]] = field(default_factory=list)

    def move(self, moved: Moved[Any, Any], traceparent: str | None) -> None:
        """Take over what the machine decided; several moves fold into one write."""
        self.instance = moved.instance
        self.asks += [(ask, traceparent) for ask in moved.asks]
        self.entries += [(entry, traceparent) for entry in moved.entries]

    def as_committed(self) -> "Held":
        """The same saga in the hands of a later transaction, which has not moved it yet."""
        return Held(self.saga, self.instance, self.subject, events=self.events + len(self.entries), before=self.instance)
