"""One order as the books of all services have it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.reconcile import Line

PLACING: Final = "place-order"
CANCELLING: Final = "cancel-order"
ENDED: Final = ("COMPLETED", "ABANDONED")
"""The states in which a saga does nothing more."""
HELD: Final = "HELD"


@dataclass(frozen=True, slots=True)
class Story:
    """One order in all books."""

    lines: Sequence[Line]

    def line(self, book: str) -> Line | None:
        return next((line for line in self.lines if line.book == book), None)

    def state(self, book: str) -> str | None:
        line = self.line(book)
        return None if line is None else line.state

    def pence(self, book: str) -> int:
        line = self.line(book)
        return 0 if line is None else line.pence

    @property
    def order(self) -> Line | None:
        return self.line("order")

    @property
    def sagas(self) -> list[Line]:
        return [line for line in self.lines if line.book in (PLACING, CANCELLING)]

    @property
    def has_open_saga(self) -> bool:
        return any(line.state not in ENDED for line in self.sagas)

    @property
    def since(self) -> datetime:
        """When any book of it moved last."""
        return max(line.changed_at for line in self.lines)
