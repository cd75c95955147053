"""What can go wrong in a run, each a switch of its own."""

from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """One kind of trouble."""

    DROP = "drop"
    """The network loses messages."""
    DUPLICATE = "duplicate"
    """Messages arrive again, also when the saga is long over."""
    DELAY = "delay"
    """Messages take long: seconds, or hours."""
    REORDER = "reorder"
    """What was sent later arrives first."""
    REFUSE = "refuse"
    """Participants say no where their command lets them."""
    SILENCE = "silence"
    """A participant is down for a while; what it is asked waits for it."""
    FAULT = "fault"
    """A participant has a bug: it gives a command up, and the letter is parked."""
    REPLAY = "replay"
    """Parked letters are given to their participant again, at any time."""
    CRASH = "crash"
    """A participant or the coordinator dies after its commit: it knows its rows, and gets the message again."""
    OPERATORS = "operators"
    """People retry, skip, cancel, pause and resume, legally or not. They skip only what was really done."""
    CONTRADICT = "contradict"
    """A participant answers with what its command does not declare, or says another thing after the truth has arrived."""


HONEST: Final = frozenset(Fault) - {Fault.CONTRADICT}
"""Everything that may happen to participants that keep their contract."""
CALM: Final[frozenset[Fault]] = frozenset()
