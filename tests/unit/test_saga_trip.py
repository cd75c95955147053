"""A domain that has nothing to do with orders runs through the same engine: booking a trip."""

from datetime import timedelta
from enum import StrEnum

from contracts.messages import Command, Event, Message, Refusal, Reply, StepFaulted
from sagas.engine import machine
from sagas.engine.definition import OnFault, Saga, Step, parallel
from sagas.engine.drawing import mermaid
from sagas.engine.instance import State, from_json, to_json
from sagas.engine.verify import verify
from tests.kit import FAULT, NOON, SILENCE, Fault, Line, play, storm
from tests.kit.dialogue import SAGA_ID, TENANT_ID


class TripWanted(Event):
    traveller: str


class FlightBooked(Reply):
    arrives_on: str


class FlightFull(Refusal):
    pass


class FlightFreed(Reply):
    pass


class BookFlight(Command[FlightBooked | FlightFull]):
    traveller: str


class FreeFlight(Command[FlightFreed]):
    traveller: str


class RoomBooked(Reply):
    pass


class HotelFull(Refusal):
    pass


class RoomFreed(Reply):
    pass


class BookRoom(Command[RoomBooked | HotelFull]):
    first_night: str


class FreeRoom(Command[RoomFreed]):
    first_night: str


class CarBooked(Reply):
    pass


class NoCarLeft(Refusal):
    pass


class CarFreed(Reply):
    pass


class BookCar(Command[CarBooked | NoCarLeft]):
    pass


class FreeCar(Command[CarFreed]):
    pass


class Paid(Reply):
    pass


class CardDeclined(Refusal):
    pass


class TakePayment(Command[Paid | CardDeclined]):
    traveller: str


class TravellerTold(Reply):
    pass


class SaySorry(Command[TravellerTold]):
    because: str


class Regret(StrEnum):
    SOLD_OUT = "SOLD_OUT"
    DECLINED = "DECLINED"
    NO_ANSWER = "NO_ANSWER"
    FAULT = "FAULT"
    CALLED_OFF = "CALLED_OFF"


BOOK_TRIP = Saga(
    name="book-trip",
    version=1,
    started_by=TripWanted,
    steps=(
        Step(
            name="flight",
            ask=lambda trip, so_far: BookFlight(traveller=trip.traveller),
            undo=lambda trip, so_far: FreeFlight(traveller=trip.traveller),
            refusals={FlightFull: Regret.SOLD_OUT},
            within=timedelta(seconds=20),
        ),
        parallel(
            Step(
                name="room",
                ask=lambda trip, so_far: BookRoom(first_night=so_far[FlightBooked].arrives_on),
                undo=lambda trip, so_far: FreeRoom(first_night=so_far[FlightBooked].arrives_on),
                refusals={HotelFull: Regret.SOLD_OUT},
                within=timedelta(seconds=20),
            ),
            Step(
                name="car",
                ask=lambda trip, so_far: BookCar(),
                undo=lambda trip, so_far: FreeCar(),
                refusals={NoCarLeft: Regret.SOLD_OUT},
                within=timedelta(seconds=20),
                on_fault=OnFault.UNDO,
            ),
        ),
    ),
    pivot=Step(
        name="payment",
        ask=lambda trip, so_far: TakePayment(traveller=trip.traveller),
        refusals={CardDeclined: Regret.DECLINED},
        within=timedelta(seconds=60),
    ),
    abandon=lambda trip, why: SaySorry(because=why),
    no_answer=Regret.NO_ANSWER,
    fault=Regret.FAULT,
    cancelled=Regret.CALLED_OFF,
)
TRIP = TripWanted(traveller="Ada")
BOOKED = FlightBooked(arrives_on="2026-12-01")
REPLIES = (
    FlightBooked,
    FlightFull,
    FlightFreed,
    RoomBooked,
    HotelFull,
    RoomFreed,
    CarBooked,
    NoCarLeft,
    CarFreed,
    Paid,
    CardDeclined,
    TravellerTold,
)
NAMES: dict[str, type[Message]] = {message.__name__: message for message in (*REPLIES, StepFaulted)}


def test_the_trip_is_sound_and_can_be_drawn() -> None:
    verify(BOOK_TRIP)
    assert "undo2 --> undo1" in mermaid(BOOK_TRIP)


def test_a_trip_is_booked_with_the_night_that_the_flight_arrives() -> None:
    lines: list[Line] = [(BookFlight, BOOKED), (BookRoom, RoomBooked()), (BookCar, CarBooked()), (TakePayment, Paid())]
    assert play(BOOK_TRIP, TRIP, lines).state is State.COMPLETED
    moved = machine.start(BOOK_TRIP, SAGA_ID, TENANT_ID, TRIP, NOON)
    moved = machine.answered(BOOK_TRIP, moved.instance, moved.asks[0].command_id, BOOKED, NOON)
    assert [ask.command for ask in moved.asks] == [BookRoom(first_night="2026-12-01"), BookCar()]


def test_groups_are_undone_in_reverse() -> None:
    lines: list[Line] = [
        (BookFlight, BOOKED),
        (BookRoom, RoomBooked()),
        (BookCar, CarBooked()),
        (TakePayment, CardDeclined()),
        (FreeCar, CarFreed()),
        (FreeRoom, RoomFreed()),
        (FreeFlight, FlightFreed()),
        (SaySorry, TravellerTold()),
    ]
    assert play(BOOK_TRIP, TRIP, lines).why is Regret.DECLINED


def test_a_first_step_that_refuses_leaves_nothing_to_undo() -> None:
    assert play(BOOK_TRIP, TRIP, [(BookFlight, FlightFull()), (SaySorry, TravellerTold())]).why is Regret.SOLD_OUT


def test_a_fault_undoes_at_once_where_the_step_says_so() -> None:
    lines: list[Line] = [
        (BookFlight, BOOKED),
        (BookRoom, SILENCE),
        (BookCar, FAULT),
        (FreeCar, CarFreed()),
        (FreeRoom, RoomFreed()),
        (FreeFlight, FlightFreed()),
        (SaySorry, TravellerTold()),
    ]
    assert play(BOOK_TRIP, TRIP, lines).why is Regret.FAULT


def test_its_row_needs_no_catalog_of_ours() -> None:
    instance = play(BOOK_TRIP, TRIP, [(BookFlight, BOOKED), (BookRoom, HotelFull()), (BookCar, SILENCE), (FreeCar, SILENCE)])
    data = to_json(instance, lambda message: message.__name__)
    assert from_json(BOOK_TRIP, instance.id, instance.tenant_id, TRIP, data, NAMES.__getitem__) == instance


def test_the_promise_holds_for_trips_too() -> None:
    weather = storm(BOOK_TRIP, TRIP, runs=300, faults=set(Fault), examples=[BOOKED])
    assert {why for _, why in weather.ends} == {None, *Regret}
