"""What follows from an operator's act: names to skip by, answers that are wrong, pauses, contradictions, what comes late."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from contracts.messages import Reply
from sagas.engine import machine, verbs
from sagas.engine.history import Kind
from sagas.engine.instance import Instance, Phase, State, command_id
from sagas.engine.machine import Moved
from sagas.engine.verbs import IllegalVerb, Verb, WrongAnswer
from tests.kit import FAULT, NOON, SILENCE, After, Late, Line, Operator, play
from tests.kit.dialogue import SAGA_ID
from tests.unit.test_saga_trip import (
    BOOK_TRIP,
    BOOKED,
    TRIP,
    BookCar,
    BookFlight,
    BookRoom,
    CarBooked,
    CardDeclined,
    CarFreed,
    FlightBooked,
    FlightFreed,
    FlightFull,
    FreeCar,
    FreeFlight,
    FreeRoom,
    HotelFull,
    Paid,
    Regret,
    RoomBooked,
    RoomFreed,
    SaySorry,
    TakePayment,
    TravellerTold,
)

RETRY: Final = Operator(Verb.RETRY)
CANCEL: Final = Operator(Verb.CANCEL)
PAUSE: Final = Operator(Verb.PAUSE)
RESUME: Final = Operator(Verb.RESUME)
BOOK: Final[list[Line]] = [(BookFlight, BOOKED), (BookRoom, RoomBooked()), (BookCar, CarBooked())]
UNDO: Final[list[Line]] = [(FreeCar, CarFreed()), (FreeRoom, RoomFreed()), (FreeFlight, FlightFreed()), (SaySorry, TravellerTold())]


def skip(step: str | None = None, **answer: Any) -> Operator:
    return Operator(Verb.SKIP, step, answer)


def played(*lines: Line) -> Instance[Any, Any]:
    return play(BOOK_TRIP, TRIP, lines)


def answered(instance: Instance[Any, Any], step: str, reply: Reply, phase: Phase = Phase.ASK) -> Moved[Any, Any]:
    return machine.answered(BOOK_TRIP, instance, command_id(SAGA_ID, phase, step, 1), reply, NOON)


# Skip


def test_of_several_missing_answers_the_step_must_be_named() -> None:
    with pytest.raises(IllegalVerb, match="several answers are missing, so name the step: room, car"):
        played((BookFlight, BOOKED), (BookRoom, SILENCE), (BookCar, SILENCE), skip())


def test_a_step_that_nothing_waits_for_cannot_be_skipped() -> None:
    with pytest.raises(IllegalVerb, match="it does not wait for 'flight'; it waits for room, car"):
        played((BookFlight, BOOKED), (BookRoom, SILENCE), (BookCar, SILENCE), skip("flight"))


def test_an_undo_and_the_abandoning_are_skipped_by_their_names() -> None:
    lines: list[Line] = [(BookFlight, BOOKED), (BookRoom, HotelFull()), (BookCar, CarBooked()), (FreeCar, FAULT), skip("undo of car")]
    done = played(*lines, (FreeFlight, FlightFreed()), (SaySorry, SILENCE), skip("abandon"))
    assert (done.state, done.why) == (State.ABANDONED, Regret.SOLD_OUT)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "flight is answered with FlightBooked: arrives_on: Field required"),
        ({"arrives_on": 7}, "flight is answered with FlightBooked: arrives_on: Input should be a valid string"),
        ({"arrives_on": "x", "gate": 4}, "flight is answered with FlightBooked: gate: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_answer_names_each_field(answer: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongAnswer) as wrong:
        played((BookFlight, SILENCE), skip(**answer))
    assert str(wrong.value) == words


def test_a_supplied_answer_is_told_to_the_steps_that_look_at_it() -> None:
    running = played((BookFlight, SILENCE), skip(arrives_on="2027-01-01"), (BookRoom, SILENCE), (BookCar, SILENCE))
    assert running.so_far[FlightBooked].arrives_on == "2027-01-01"


@pytest.mark.parametrize(
    ("late", "facts"),
    [(BOOKED, []), (FAULT, []), (FlightBooked(arrives_on="another day"), [Kind.OVERTAKEN])],
)
def test_what_the_participant_says_after_a_skip_is_noted_and_changes_nothing_else(late: Reply, facts: list[Kind]) -> None:
    skipped = played((BookFlight, SILENCE), skip(arrives_on="2026-12-01"), (BookRoom, SILENCE), (BookCar, SILENCE))
    moved = answered(skipped, "flight", late)
    assert [entry.kind for entry in moved.entries] == facts
    assert moved.asks == ()
    assert moved.instance.changed(revision=skipped.revision) == skipped


def test_a_step_that_refuses_after_it_was_skipped_asks_for_attention_because_the_saga_went_on() -> None:
    skipped = played((BookFlight, SILENCE), skip(arrives_on="2026-12-01"), (BookRoom, SILENCE), (BookCar, SILENCE))
    moved = answered(skipped, "flight", FlightFull())
    assert ([entry.kind for entry in moved.entries][:1], moved.instance.state) == ([Kind.CONTRADICTED], State.NEEDS_ATTENTION)


def test_a_pivot_that_refuses_after_it_was_skipped_is_noted_as_a_contradiction_of_what_has_ended() -> None:
    booked = (BookFlight, BOOKED), (BookRoom, RoomBooked()), (BookCar, CarBooked())
    skipped = played(*booked, (TakePayment, SILENCE), skip())
    moved = answered(skipped, "payment", CardDeclined())
    assert ([entry.kind for entry in moved.entries], moved.instance.state) == ([Kind.CONTRADICTED], State.COMPLETED)


def test_on_the_way_back_a_late_refusal_of_a_skipped_step_is_only_noted() -> None:
    skipped = played((BookFlight, SILENCE), skip(arrives_on="2026-12-01"), (BookRoom, HotelFull()), (BookCar, SILENCE), (FreeCar, SILENCE))
    assert [entry.kind for entry in answered(skipped, "flight", FlightFull()).entries] == [Kind.OVERTAKEN]


def test_a_contradiction_takes_no_time_from_the_saga() -> None:
    disputed = played((BookFlight, CarFreed()))
    later = NOON + timedelta(hours=3)
    moved = verbs.retry(BOOK_TRIP, disputed, later, "ada", "mended")
    assert moved.instance.deadline == disputed.deadline + timedelta(hours=3)
    assert moved.instance.wake_at == later + timedelta(seconds=20)


def test_a_long_pause_takes_nothing_from_the_time_in_which_an_undo_is_asked_again() -> None:
    undoing = played((BookFlight, BOOKED), (BookRoom, HotelFull()), (BookCar, SILENCE), (FreeCar, SILENCE))
    paused = verbs.pause(BOOK_TRIP, undoing, NOON, "ada", "maintenance").instance
    resumed = verbs.resume(BOOK_TRIP, paused, NOON + timedelta(hours=5), "ada", "done").instance
    assert resumed.wake_at
    again = machine.timed_out(BOOK_TRIP, resumed, resumed.wake_at)
    assert [entry.kind for entry in again.entries] == [Kind.ASKED_AGAIN]


def test_one_settled_dispute_does_not_settle_another() -> None:
    asked = played((BookFlight, BOOKED), (BookRoom, SILENCE), (BookCar, SILENCE))
    disputed = answered(answered(asked, "room", CarFreed()).instance, "car", RoomFreed()).instance
    skipped = verbs.skip(BOOK_TRIP, disputed, NOON, "ada", "booked by phone", "room", None)
    assert (skipped.instance.state, skipped.asks) == (State.NEEDS_ATTENTION, ())
    both = verbs.skip(BOOK_TRIP, skipped.instance, NOON, "ada", "that as well", "car", None)
    assert [ask.step for ask in both.asks] == ["payment"]


def test_a_skipped_step_is_undone_like_one_that_answered() -> None:
    lines: list[Line] = [(BookFlight, SILENCE), skip(arrives_on="2026-12-01"), (BookRoom, RoomBooked()), (BookCar, SILENCE)]
    assert played(*lines, CANCEL, *UNDO).why is Regret.CALLED_OFF


# Retry


def test_retry_keeps_the_command_so_that_a_participant_that_has_answered_answers_the_same() -> None:
    parked = played((BookFlight, FAULT))
    moved = RETRY.act(BOOK_TRIP, parked, NOON + timedelta(hours=2))
    assert [ask.command_id for ask in moved.asks] == [command_id(SAGA_ID, Phase.ASK, "flight", 1)]
    # The two hours in which it was parked do not count.
    assert moved.instance.deadline == parked.deadline + timedelta(hours=2)


def test_after_a_contradiction_retry_asks_under_a_new_id() -> None:
    contradicted = played((BookFlight, CarFreed()))
    moved = RETRY.act(BOOK_TRIP, contradicted, NOON)
    assert [ask.command_id for ask in moved.asks] == [command_id(SAGA_ID, Phase.ASK, "flight", 2)]


def test_an_undo_that_nobody_answered_is_asked_for_anew() -> None:
    lines: list[Line] = [(BookFlight, BOOKED), (BookRoom, HotelFull()), (BookCar, SILENCE), (FreeCar, CarFreed()), (FreeFlight, SILENCE)]
    lines += [(FreeFlight, SILENCE), After(timedelta(minutes=2)), State.NEEDS_ATTENTION, RETRY, (FreeFlight, SILENCE)]
    hurried = replace(BOOK_TRIP, undo_silence_max=timedelta(seconds=30))
    done = play(hurried, TRIP, [*lines, (FreeFlight, FlightFreed()), (SaySorry, TravellerTold())])
    assert done.state is State.ABANDONED


# Contradictions


def test_a_contradiction_stops_the_saga_until_somebody_decides_and_answers_are_noted_meanwhile() -> None:
    lines: list[Line] = [(BookFlight, BOOKED), (BookRoom, RoomBooked()), (BookCar, SILENCE), Late(BookRoom, HotelFull())]
    held = played(*lines, State.NEEDS_ATTENTION, Late(BookCar, CarBooked()), State.NEEDS_ATTENTION)
    assert held.wake_at is None
    assert played(*lines, Late(BookCar, CarBooked()), RETRY, (TakePayment, Paid())).state is State.COMPLETED


def test_a_contradicted_refusal_is_undone_because_nobody_knows() -> None:
    lines: list[Line] = [(BookFlight, BOOKED), (BookRoom, HotelFull()), (BookCar, CarBooked()), (FreeCar, SILENCE)]
    lines += [Late(BookRoom, RoomBooked()), State.NEEDS_ATTENTION, RETRY, (FreeCar, CarFreed()), (FreeRoom, RoomFreed())]
    assert played(*lines, (FreeFlight, FlightFreed()), (SaySorry, TravellerTold())).why is Regret.SOLD_OUT


@pytest.mark.parametrize("again", [CarFreed(), BOOKED], ids=lambda reply: type(reply).__name__)
def test_what_was_said_before_the_retry_does_not_stop_it_once_more(again: Reply) -> None:
    lines: list[Line] = [(BookFlight, CarFreed()), State.NEEDS_ATTENTION, RETRY, Late(BookFlight, again), State.RUNNING]
    assert played(*lines, (BookFlight, BOOKED), (BookRoom, SILENCE), (BookCar, SILENCE)).state is State.RUNNING


def test_the_same_nonsense_after_a_retry_stops_it_again() -> None:
    assert played((BookFlight, CarFreed()), RETRY, (BookFlight, CarFreed())).state is State.NEEDS_ATTENTION


# Pause and resume


def test_a_refusal_that_a_paused_saga_notes_turns_it_back_when_it_is_resumed() -> None:
    noted: list[Line] = [
        (BookFlight, BOOKED),
        (BookRoom, SILENCE),
        (BookCar, CarBooked()),
        PAUSE,
        Late(BookRoom, HotelFull()),
        State.PAUSED,
    ]
    assert played(*noted).why is None
    back = played(
        *noted, After(timedelta(hours=9)), RESUME, (FreeCar, CarFreed()), (FreeFlight, FlightFreed()), (SaySorry, TravellerTold())
    )
    assert back.why is Regret.SOLD_OUT


def test_no_time_runs_while_it_is_paused() -> None:
    paused = played((BookFlight, SILENCE), After(timedelta(seconds=5)), PAUSE, After(timedelta(days=7)), State.PAUSED)
    assert paused.wake_at is None
    resumed = played((BookFlight, SILENCE), After(timedelta(seconds=5)), PAUSE, After(timedelta(days=7)), RESUME)
    shifted = timedelta(days=7)
    assert resumed.wake_at == NOON + timedelta(seconds=20) + shifted
    assert resumed.deadline == NOON + BOOK_TRIP.deadline + shifted


def test_a_pause_does_not_use_up_the_time_that_a_saga_may_be_parked() -> None:
    parked = played((BookFlight, FAULT), After(timedelta(hours=1)), PAUSE, After(timedelta(days=7)), RESUME, State.PARKED)
    assert parked.wake_at == NOON + timedelta(days=7) + BOOK_TRIP.park_at_most


def test_a_fault_that_comes_while_it_is_paused_parks_it_when_it_is_resumed() -> None:
    lines: list[Line] = [(BookFlight, SILENCE), PAUSE, After(timedelta(hours=1)), Late(BookFlight, FAULT), State.PAUSED]
    parked = played(*lines, After(timedelta(hours=1)), RESUME, State.PARKED)
    assert parked.wake_at == NOON + timedelta(hours=2) + BOOK_TRIP.park_at_most


def test_what_unparks_a_paused_saga_counts_no_hour_twice() -> None:
    """Parked for one hour, paused for two, un-parked in the middle of the pause: three hours do not count, not four."""
    hour = After(timedelta(hours=1))
    lines: list[Line] = [(BookFlight, BOOKED), (BookRoom, SILENCE), (BookCar, SILENCE), Late(BookRoom, FAULT), State.PARKED, hour]
    resumed = played(*lines, PAUSE, hour, Late(BookRoom, RoomBooked()), State.PAUSED, hour, RESUME, State.RUNNING)
    assert resumed.deadline == NOON + BOOK_TRIP.deadline + timedelta(hours=3)
    assert resumed.wake_at == NOON + timedelta(hours=3, seconds=20)


def test_a_paused_saga_that_is_cancelled_turns_back_at_once() -> None:
    assert played(*BOOK[:1], (BookRoom, SILENCE), (BookCar, SILENCE), PAUSE, CANCEL, *UNDO).why is Regret.CALLED_OFF


# What is recorded


def test_who_did_what_and_why_is_recorded() -> None:
    moved = replace(CANCEL, actor="Ada", reason="a duplicate").act(BOOK_TRIP, played((BookFlight, SILENCE)), NOON)
    assert [(entry.kind, entry.actor, entry.reason) for entry in moved.entries] == [
        (Kind.CANCELLED, "Ada", "a duplicate"),
        (Kind.COMPENSATING, "Ada", None),
        (Kind.ASKED, "Ada", None),
    ]
