"""Whether somebody in the shop has accepted an order. Ask and undo of an order meet in its row. No session, no clock, no SQL.

NEW -> WAITING -> ACCEPTED
 |        |----> DECLINED       somebody in the shop has said so, once and for all
 |        |          |
 +--------+-> WITHDRAWN         nobody is asked any more, and nobody will be; an ACCEPTED one can still be withdrawn
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.messages import LATER, Later
from contracts.orders import OrderAccepted, OrderDeclined


class AcceptanceState(StrEnum):
    """Where the shop's say is. NEW: the saga has not asked, and for most shops never does."""

    NEW = "NEW"
    WAITING = "WAITING"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    WITHDRAWN = "WITHDRAWN"


class IllegalAcceptance(Exception):
    """The shop's say cannot become that any more."""

    def __init__(self, state: AcceptanceState, wanted: AcceptanceState) -> None:
        super().__init__(f"an acceptance that is {state} cannot become {wanted}")
        self.state = state
        self.wanted = wanted


_NEXT: Final[Mapping[AcceptanceState, tuple[AcceptanceState, ...]]] = {
    AcceptanceState.NEW: (AcceptanceState.WAITING, AcceptanceState.WITHDRAWN),
    AcceptanceState.WAITING: (AcceptanceState.ACCEPTED, AcceptanceState.DECLINED, AcceptanceState.WITHDRAWN),
    AcceptanceState.ACCEPTED: (AcceptanceState.WITHDRAWN,),
    AcceptanceState.DECLINED: (),
    AcceptanceState.WITHDRAWN: (),
}


@dataclass(slots=True)
class Acceptance:
    """The shop's say on one order."""

    state: AcceptanceState = AcceptanceState.NEW
    ends_wait: bool = False
    """It was waited for and is settled now: whoever waits has to be told when this is saved."""

    @property
    def is_open(self) -> bool:
        """Nobody has decided anything yet."""
        return self.state in (AcceptanceState.NEW, AcceptanceState.WAITING)

    @property
    def answer(self) -> OrderAccepted | OrderDeclined | Later:
        """What RequestAcceptance is answered, once it was asked; LATER while the shop has not decided."""
        if self.is_open:
            return LATER
        return OrderAccepted() if self.state is AcceptanceState.ACCEPTED else OrderDeclined()

    def become(self, wanted: AcceptanceState) -> None:
        """Raises IllegalAcceptance for a step that it does not have."""
        if wanted not in _NEXT[self.state]:
            raise IllegalAcceptance(self.state, wanted)
        self.ends_wait = self.ends_wait or self.state is AcceptanceState.WAITING
        self.state = wanted
