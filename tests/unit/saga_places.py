"""Every place where a saga can be when an operator comes: how it gets there, and what each verb does to it there."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from contracts.messages import Command, Reply
from sagas.engine.definition import Step
from sagas.engine.instance import State
from sagas.engine.verbs import Verb
from tests.kit import FAULT, SILENCE, After, Late, Line, Operator
from tests.unit.test_saga_trip import (
    BOOK_TRIP,
    BOOKED,
    BookCar,
    BookFlight,
    BookRoom,
    CarBooked,
    CarFreed,
    FlightFull,
    FreeCar,
    FreeFlight,
    HotelFull,
    Paid,
    RoomBooked,
    SaySorry,
    TakePayment,
    TravellerTold,
)


class TicketSent(Reply):
    pass


class SendTicket(Command[TicketSent]):
    traveller: str


TRIP_SAGA: Final = replace(
    BOOK_TRIP,
    then=(
        Step(
            name="ticket",
            ask=lambda trip, so_far: SendTicket(traveller=trip.traveller),
            within=timedelta(seconds=20),
        ),
    ),
)
TO_PIVOT: Final[list[Line]] = [(BookFlight, BOOKED), (BookRoom, RoomBooked()), (BookCar, CarBooked())]
TO_UNDO: Final[list[Line]] = [(BookFlight, BOOKED), (BookRoom, HotelFull()), (BookCar, CarBooked())]
FULL: Final[list[Line]] = [(BookFlight, FlightFull())]
PAUSE: Final = Operator(Verb.PAUSE)

PAST: Final = "it is past the point of no return: payment has been asked"
BACK: Final = "it is turning back already, because of SOLD_OUT"
NOT_PAUSED: Final = "it is not paused; a parked saga goes on with retry, skip or cancel"
PAUSED: Final = "it is paused: resume it first"
PAUSED_ALREADY: Final = "it is paused already"

Done = tuple[State, type[Command[Any]] | None]
"""The state after it, and what is asked by it, if anything."""


@dataclass(frozen=True)
class Place:
    """Where a saga can be: how it got there, and what each verb does to it there: Done, or the words it is refused with."""

    state: State
    lines: list[Line]
    retry: Done | str
    skip: Done | str
    cancel: Done | str
    pause: Done | str
    resume: Done | str
    answer: Mapping[str, Any] = field(default_factory=dict)
    """What skip supplies."""
    is_past: bool = False
    """Whether the pivot was asked."""


def _ended(state: State, lines: list[Line]) -> Place:
    words = f"it has ended: {state}"
    return Place(state, lines, retry=words, skip=words, cancel=words, pause=words, resume=words)


PLACES: Final = {
    "a step is asked": Place(
        State.RUNNING,
        [(BookFlight, SILENCE)],
        retry=(State.RUNNING, BookFlight),
        skip=(State.RUNNING, BookRoom),
        cancel=(State.COMPENSATING, FreeFlight),
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
        answer=BOOKED.model_dump(),
    ),
    "the pivot is asked": Place(
        State.RUNNING,
        [*TO_PIVOT, (TakePayment, SILENCE)],
        retry=(State.RUNNING, TakePayment),
        skip=(State.COMPLETING, SendTicket),
        cancel=PAST,
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
        is_past=True,
    ),
    "an undo is asked": Place(
        State.COMPENSATING,
        [*TO_UNDO, (FreeCar, SILENCE)],
        retry=(State.COMPENSATING, FreeCar),
        skip=(State.COMPENSATING, FreeFlight),
        cancel=BACK,
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
    ),
    "the abandoning is asked": Place(
        State.ABANDONING,
        [*FULL, (SaySorry, SILENCE)],
        retry=(State.ABANDONING, SaySorry),
        skip=(State.ABANDONED, None),
        cancel=BACK,
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
    ),
    "a step after the pivot is asked": Place(
        State.COMPLETING,
        [*TO_PIVOT, (TakePayment, Paid()), (SendTicket, SILENCE)],
        retry=(State.COMPLETING, SendTicket),
        skip=(State.COMPLETED, None),
        cancel=PAST,
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
        is_past=True,
    ),
    "parked before the pivot": Place(
        State.PARKED,
        [(BookFlight, FAULT)],
        retry=(State.RUNNING, BookFlight),
        skip=(State.RUNNING, BookRoom),
        cancel=(State.COMPENSATING, FreeFlight),
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
        answer=BOOKED.model_dump(),
    ),
    "parked at the pivot": Place(
        State.PARKED,
        [*TO_PIVOT, (TakePayment, FAULT)],
        retry=(State.RUNNING, TakePayment),
        skip=(State.COMPLETING, SendTicket),
        cancel=PAST,
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
        is_past=True,
    ),
    "contradicted before the pivot": Place(
        State.NEEDS_ATTENTION,
        [(BookFlight, CarFreed())],
        retry=(State.RUNNING, BookFlight),
        skip=(State.RUNNING, BookRoom),
        cancel=(State.COMPENSATING, FreeFlight),
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
        answer=BOOKED.model_dump(),
    ),
    "contradicted, and nothing is unanswered": Place(
        State.NEEDS_ATTENTION,
        [*TO_UNDO[:1], (BookRoom, RoomBooked()), (BookCar, SILENCE), Late(BookRoom, HotelFull()), Late(BookCar, CarBooked())],
        retry=(State.RUNNING, TakePayment),
        skip="no answer is missing: retry lets it go on with the first answer, cancel undoes it",
        cancel=(State.COMPENSATING, FreeCar),
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
    ),
    "the pivot faulted and nobody mended it": Place(
        State.NEEDS_ATTENTION,
        [*TO_PIVOT, (TakePayment, FAULT), After(timedelta(hours=24))],
        retry=(State.RUNNING, TakePayment),
        skip=(State.COMPLETING, SendTicket),
        cancel=PAST,
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
        is_past=True,
    ),
    "an undo faulted": Place(
        State.NEEDS_ATTENTION,
        [*TO_UNDO, (FreeCar, FAULT)],
        retry=(State.COMPENSATING, FreeCar),
        skip=(State.COMPENSATING, FreeFlight),
        cancel=BACK,
        pause=(State.PAUSED, None),
        resume=NOT_PAUSED,
    ),
    "paused before the pivot": Place(
        State.PAUSED,
        [(BookFlight, SILENCE), PAUSE],
        retry=PAUSED,
        skip=(State.PAUSED, None),
        cancel=(State.COMPENSATING, FreeFlight),
        pause=PAUSED_ALREADY,
        resume=(State.RUNNING, None),
        answer=BOOKED.model_dump(),
    ),
    "paused, and everything is answered meanwhile": Place(
        State.PAUSED,
        [(BookFlight, SILENCE), PAUSE, Late(BookFlight, BOOKED)],
        retry=PAUSED,
        skip="no answer is missing: resume lets it go on",
        cancel=(State.COMPENSATING, FreeFlight),
        pause=PAUSED_ALREADY,
        resume=(State.RUNNING, BookRoom),
    ),
    "paused after the pivot was asked": Place(
        State.PAUSED,
        [*TO_PIVOT, (TakePayment, SILENCE), PAUSE],
        retry=PAUSED,
        skip=(State.PAUSED, None),
        cancel=PAST,
        pause=PAUSED_ALREADY,
        resume=(State.RUNNING, None),
        is_past=True,
    ),
    "paused on the way back": Place(
        State.PAUSED,
        [*FULL, (SaySorry, SILENCE), PAUSE],
        retry=PAUSED,
        skip=(State.ABANDONED, None),
        cancel=BACK,
        pause=PAUSED_ALREADY,
        resume=(State.ABANDONING, None),
    ),
    "completed": _ended(State.COMPLETED, [*TO_PIVOT, (TakePayment, Paid()), (SendTicket, TicketSent())]),
    "abandoned": _ended(State.ABANDONED, [*FULL, (SaySorry, TravellerTold())]),
}
