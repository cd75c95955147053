"""The machine's rules one by one: late and duplicate answers, silence, faults, deadlines, the JSON of a row."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.inventory import OutOfStock, StockReleased, StockReserved
from contracts.messages import Reply
from contracts.orders import OrderRejected
from contracts.tenants import QuotaExceeded, QuotaReleased, QuotaReserved
from contracts.values import Rejection
from sagas.engine import machine, verbs
from sagas.engine.definition import Retry, paced
from sagas.engine.history import Entry, Kind
from sagas.engine.instance import Instance, Phase, State, command_id, from_json, to_json
from sagas.engine.machine import Ask, Moved
from sagas.place_order import PLACE_ORDER
from tests.kit.dialogue import NOON, SAGA_ID, TENANT_ID
from tests.unit.test_place_order import FAULT, ORDER, STOCK_RESERVED

QUOTA, STOCK, APPROVE = "reserve-quota", "reserve-stock", "approve-order"


class Run:
    """One PLACE_ORDER under test, with a clock that is set by hand; its row is written and read after each move."""

    def __init__(self) -> None:
        self.now, self.entries, self.asks = NOON, list[Entry](), list[Ask]()
        self.take(machine.start(PLACE_ORDER, SAGA_ID, TENANT_ID, ORDER, self.now))

    def answer(self, step: str, reply: Reply, phase: Phase = Phase.ASK) -> Moved[Any, Any]:
        command = command_id(SAGA_ID, phase, step, 1)
        return self.take(machine.answered(PLACE_ORDER, self.instance, command, reply, self.now))

    def undone(self, step: str, reply: Reply) -> Moved[Any, Any]:
        return self.answer(step, reply, Phase.UNDO)

    def wake(self) -> Moved[Any, Any]:
        assert self.instance.wake_at is not None
        self.now = self.instance.wake_at
        return self.take(machine.timed_out(PLACE_ORDER, self.instance, self.now))

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def to_pivot(self) -> "Run":
        self.answer(QUOTA, QuotaReserved())
        self.answer(STOCK, STOCK_RESERVED)
        return self

    def state(self) -> State:
        return self.instance.state

    def asked(self) -> list[tuple[Phase, str]]:
        return [(ask.phase, ask.step) for ask in self.asks]

    def kinds(self) -> list[Kind]:
        return [entry.kind for entry in self.entries]

    def take(self, moved: Moved[Any, Any]) -> Moved[Any, Any]:
        self.instance: Instance[Any, Any] = from_json(PLACE_ORDER, SAGA_ID, TENANT_ID, ORDER, to_json(moved.instance))
        assert self.instance == moved.instance
        self.asks += moved.asks
        self.entries += moved.entries
        return moved


def _at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_the_first_group_is_asked_at_once_with_each_steps_time() -> None:
    run = Run()
    assert [(ask.step, ask.expires) for ask in run.asks] == [(QUOTA, _at(10)), (STOCK, _at(30))]
    assert run.instance.wake_at == _at(10)
    assert run.kinds() == [Kind.STARTED, Kind.ASKED, Kind.ASKED]


def test_the_same_input_is_the_same_move() -> None:
    first, again = (machine.start(PLACE_ORDER, SAGA_ID, TENANT_ID, ORDER, NOON) for _ in range(2))
    assert first == again


def test_each_change_raises_the_revision_by_one() -> None:
    run = Run()
    assert run.instance.revision == 1
    run.answer(QUOTA, QuotaReserved())
    assert run.instance.revision == 2


def test_a_duplicate_answer_changes_nothing() -> None:
    run = Run()
    run.answer(QUOTA, QuotaReserved())
    assert run.answer(QUOTA, QuotaReserved()) == Moved(run.instance)


def test_a_second_other_answer_asks_for_attention_until_somebody_says_go_on() -> None:
    run = Run()
    run.answer(QUOTA, QuotaReserved())
    run.answer(QUOTA, QuotaExceeded())
    assert (run.state(), run.instance.wake_at, run.kinds()[-2:]) == (
        State.NEEDS_ATTENTION,
        None,
        [Kind.CONTRADICTED, Kind.NEEDS_ATTENTION],
    )
    assert run.answer(QUOTA, QuotaExceeded()) == Moved(run.instance)
    run.answer(STOCK, STOCK_RESERVED)
    assert run.state() is State.NEEDS_ATTENTION
    run.take(verbs.retry(PLACE_ORDER, run.instance, run.now, "ada", "the quota was held, I have looked"))
    assert run.asked()[-1] == (Phase.ASK, APPROVE)


def test_an_answer_to_an_unknown_command_changes_nothing() -> None:
    run = Run()
    stranger = UUID(int=99)
    assert run.instance.asking_of(stranger) is None
    assert machine.answered(PLACE_ORDER, run.instance, stranger, QuotaReserved(), NOON) == Moved(run.instance)


def test_an_answer_that_the_command_does_not_declare_asks_for_attention_and_is_asked_anew() -> None:
    run = Run()
    run.answer(QUOTA, StockReleased())
    assert run.state() is State.NEEDS_ATTENTION
    run.take(verbs.retry(PLACE_ORDER, run.instance, run.now, "ada", "mended"))
    # Under the old id the participant would remember its impossible answer.
    assert run.asks[-2].command_id == command_id(SAGA_ID, Phase.ASK, QUOTA, 2)
    assert run.state() is State.RUNNING


def test_a_success_after_a_refusal_is_undone_too() -> None:
    run = Run()
    run.answer(QUOTA, QuotaExceeded())
    run.answer(QUOTA, QuotaReserved())
    assert run.state() is State.NEEDS_ATTENTION
    run.undone(STOCK, StockReleased())
    run.take(verbs.retry(PLACE_ORDER, run.instance, run.now, "ada", "undo both"))
    assert run.asked()[-1] == (Phase.UNDO, QUOTA)


def test_before_its_time_nothing_times_out() -> None:
    run = Run()
    assert machine.timed_out(PLACE_ORDER, run.instance, _at(9.999)) == Moved(run.instance)


def test_the_first_decision_wins() -> None:
    run = Run()
    run.answer(STOCK, OutOfStock())
    run.answer(QUOTA, QuotaExceeded())
    assert run.instance.why is Rejection.OUT_OF_STOCK
    assert run.kinds()[-1] is Kind.LATE


@pytest.mark.parametrize("late", [STOCK_RESERVED, OutOfStock(), FAULT], ids=lambda reply: type(reply).__name__)
def test_a_late_answer_is_recorded_once_and_changes_nothing_else(late: Reply) -> None:
    run = Run()
    run.wake()  # the quota is silent
    assert run.asked()[2:] == [(Phase.UNDO, STOCK), (Phase.UNDO, QUOTA)]
    moved = run.answer(STOCK, late)
    assert ([entry.kind for entry in moved.entries], moved.asks, run.state()) == ([Kind.LATE], (), State.COMPENSATING)
    assert run.answer(STOCK, late) == Moved(run.instance)


def test_an_abandoned_saga_still_records_a_late_answer() -> None:
    run = Run()
    run.answer(STOCK, OutOfStock())
    run.undone(QUOTA, QuotaReleased())
    run.answer("abandon", OrderRejected(), Phase.ABANDON)
    assert (run.state(), run.instance.wake_at) == (State.ABANDONED, None)
    moved = run.answer(QUOTA, QuotaReserved())
    assert ([entry.kind for entry in moved.entries], moved.asks, run.state()) == ([Kind.LATE], (), State.ABANDONED)


def test_several_silences_at_once_are_one_decision() -> None:
    run = Run()
    run.now = _at(60)
    run.take(machine.timed_out(PLACE_ORDER, run.instance, run.now))
    assert run.kinds()[3:6] == [Kind.SILENT, Kind.SILENT, Kind.COMPENSATING]


def test_an_undo_is_asked_again_with_growing_waits_under_the_same_id() -> None:
    run = Run()
    run.answer(STOCK, OutOfStock())
    waits = []
    for _ in range(7):
        before = run.now
        run.wake()
        waits.append((run.now - before).total_seconds())
    # The wait in which an undo was asked first is as long as its step says; later ones are spread, so that sagas do not come in step.
    assert waits[0] == 10
    for wait, longest in zip(waits[1:], [20, 40, 80, 160, 300, 300], strict=True):
        assert longest * 0.8 <= wait <= longest
    assert len({ask.command_id for ask in run.asks[2:]}) == 1


def test_an_undo_that_stays_silent_asks_for_attention_and_keeps_listening() -> None:
    run = Run()
    run.answer(STOCK, OutOfStock())
    while run.instance.wake_at:
        run.wake()
    assert run.state() is State.NEEDS_ATTENTION
    assert timedelta(hours=1) <= run.now - NOON < timedelta(hours=1, minutes=6)
    run.undone(QUOTA, QuotaReleased())
    assert run.state() is State.ABANDONING


def test_a_group_waits_for_all_its_undos() -> None:
    run = Run()
    run.wake()
    run.undone(STOCK, StockReleased())
    assert run.asked()[-1] == (Phase.UNDO, QUOTA)
    run.undone(QUOTA, QuotaReleased())
    assert run.asked()[-1] == (Phase.ABANDON, "abandon")
    assert run.state() is State.ABANDONING


def test_the_sagas_deadline_ends_it_before_the_pivot_however_many_tries_are_left() -> None:
    quota, _, stock = PLACE_ORDER.groups[0]
    patient = replace(quota, retry=Retry(attempts=100, longest=timedelta(seconds=2)))
    hurried = replace(PLACE_ORDER, steps=(patient, stock), deadline=timedelta(seconds=31))
    moved = machine.start(hurried, SAGA_ID, TENANT_ID, ORDER, NOON)
    entries = list(moved.entries)
    while moved.instance.why is None:
        assert moved.instance.wake_at
        moved = machine.timed_out(hurried, moved.instance, moved.instance.wake_at)
        entries += moved.entries
    assert (moved.entries[0].at, moved.instance.why) == (_at(31), Rejection.NO_ANSWER)
    assert [entry.kind for entry in entries].count(Kind.ASKED_AGAIN) == 2
    assert [entry.kind for entry in moved.entries][:2] == [Kind.OVERDUE, Kind.COMPENSATING]


def test_once_the_pivot_is_asked_the_sagas_deadline_means_nothing() -> None:
    run = Run().to_pivot()
    for _ in range(20):
        run.wake()
    assert run.now > run.instance.deadline
    assert (run.state(), run.instance.why) == (State.RUNNING, None)


def test_what_must_be_answered_outlives_its_first_deadline() -> None:
    run = Run().to_pivot()
    assert run.asks[-1].expires == NOON + PLACE_ORDER.undo_silence_max


def test_pacing_shortens_every_time_and_nothing_else() -> None:
    tenth = paced(PLACE_ORDER, 0.1)
    assert [step.within / 10 for step in PLACE_ORDER.steps_by_name.values()] == [step.within for step in tenth.steps_by_name.values()]
    assert (tenth.deadline, tenth.park_at_most) == (PLACE_ORDER.deadline / 10, PLACE_ORDER.park_at_most / 10)
    assert list(tenth.steps_by_name) == list(PLACE_ORDER.steps_by_name)


def test_the_reply_comes_back_from_the_row_with_its_class_and_fields() -> None:
    run = Run().to_pivot()
    assert run.instance.so_far[StockReserved].reservation_id == STOCK_RESERVED.reservation_id
