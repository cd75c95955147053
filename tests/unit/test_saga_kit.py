"""The test kit tells what went wrong so that people can mend it, and makes up only what it can."""

from datetime import date, timedelta
from typing import Any, Final

import pytest

from contracts.messages import Command, Event, Reply
from sagas.engine.definition import Saga, Step
from sagas.engine.instance import State
from sagas.engine.machine import Moved
from sagas.engine.rebuilding import rebuilt
from sagas.engine.verbs import Verb
from tests.kit import FAULT, SILENCE, After, DialogueBroken, Fault, Late, Line, Operator, play, storm
from tests.kit.dialogue import SAGA_ID, TENANT_ID
from tests.kit.participants import NoExample
from tests.kit.shapes import Begun, shape
from tests.kit.world import World
from tests.unit.test_saga_trip import BOOK_TRIP, BOOKED, TRIP, BookFlight, BookRoom, FlightFull, FreeFlight

LOST: Final[list[Line]] = [(BookFlight, SILENCE)]


def _broken(*lines: Line) -> str:
    with pytest.raises(DialogueBroken) as broken:
        play(BOOK_TRIP, TRIP, lines)
    return str(broken.value)


def test_a_state_that_it_is_not_in_is_told_with_dialogue_and_story() -> None:
    assert _broken((BookFlight, FAULT), After(timedelta(hours=1)), Operator(Verb.RETRY), State.PARKED) == "\n".join(
        [
            "it is RUNNING, the dialogue expects PARKED",
            "The dialogue so far:",
            "  BookFlight -> StepFaulted(error='ValueError: a bug', fingerprint='bug')",
            "  After(time=datetime.timedelta(seconds=3600))",
            "  Operator(verb=<Verb.RETRY: 'retry'>, step=None, answer=None, actor='Olive', reason='it must go on')",
            "What happened:",
            "         0.0 s  Started.",
            "         0.0 s  Asked for flight (BookFlight).",
            "         0.0 s  A fault while doing flight: ValueError: a bug.",
            "         0.0 s  Parked: waits until somebody has mended the fault.",
            "      3600.0 s  Asked again for everything that is missing. By Olive: it must go on",
            "      3600.0 s  Asked again for flight, time 2.",
        ]
    )


def test_what_was_not_asked_cannot_be_answered_late() -> None:
    assert "BookRoom was not asked yet, so it cannot be answered late" in _broken(*LOST, Late(BookRoom, BOOKED))


def test_while_the_clock_moves_what_is_due_happens_at_its_time() -> None:
    assert "20.0 s  Asked for the undo of flight" in _broken(*LOST, After(timedelta(minutes=1)))


def test_time_that_passes_before_anything_is_due_changes_nothing() -> None:
    lines: list[Line] = [*LOST, After(timedelta(seconds=19.9)), State.RUNNING, After(timedelta(seconds=0.1)), State.COMPENSATING]
    assert "FreeFlight was asked, the dialogue has ended" in _broken(*lines)


def test_a_late_refusal_is_noted_on_the_way_back() -> None:
    lines: list[Line] = [*LOST, (FreeFlight, SILENCE), Late(BookFlight, FlightFull()), State.COMPENSATING]
    assert play(BOOK_TRIP, TRIP, lines).state is State.COMPENSATING


class Wanted(Event):
    pass


class Weighed(Reply):
    on: date
    grams: dict[str, int]


class Weigh(Command[Weighed]):
    pass


WEIGHING: Final[Saga[Wanted, Any]] = Saga(
    name="weighing",
    version=1,
    started_by=Wanted,
    then=(Step(name="weigh", ask=lambda wanted, so_far: Weigh(), within=timedelta(seconds=1)),),
)


def test_an_answer_that_cannot_be_made_up_is_asked_for() -> None:
    with pytest.raises(NoExample, match=r"Give `storm` one in `examples`") as missing:
        storm(WEIGHING, Wanted(), runs=1)
    assert missing.value.reply is Weighed
    assert storm(WEIGHING, Wanted(), runs=5, faults=(), examples=[Weighed(on=date(2026, 1, 1), grams={"flour": 3})]).states == {
        "COMPLETED": 5
    }


class Watched(World):
    """After each move of the saga its history is told anew."""

    def take(self, moved: Moved[Any, Any]) -> None:
        super().take(moved)
        assert rebuilt(self.saga, SAGA_ID, TENANT_ID, self.order, self.history) == self.instance


def test_the_history_tells_what_the_row_says_after_each_single_move() -> None:
    for number in range(150):
        Watched(shape(number), Begun(wishes=number), number, faults=set(Fault)).run()
