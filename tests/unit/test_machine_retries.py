"""Retry policies: which answers are worth another try, under which id, after which pause, and when it is enough."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from contracts.inventory import OutOfStock
from contracts.messages import StepFaulted
from contracts.tenants import QuotaExceeded, QuotaReserved
from contracts.values import Rejection
from sagas.engine import machine
from sagas.engine.definition import Retry, parallel
from sagas.engine.history import Kind
from sagas.engine.instance import Phase, State, Status, command_id
from sagas.engine.machine import Moved
from sagas.engine.pauses import pause_before_retry, wait_for_answer
from sagas.place_order import PLACE_ORDER
from tests.kit.dialogue import NOON, SAGA_ID, TENANT_ID
from tests.unit.test_place_order import FAULT, ORDER

QUOTA, CHARGE, STOCK = PLACE_ORDER.groups[0]
THREE_TRIES = Retry(attempts=3, first=timedelta(seconds=2), on=(QuotaExceeded, StepFaulted))
PATIENT = replace(PLACE_ORDER, steps=(replace(QUOTA, retry=THREE_TRIES), STOCK))
ID = command_id(SAGA_ID, Phase.ASK, QUOTA.name, 1)
SECOND_ID = command_id(SAGA_ID, Phase.ASK, QUOTA.name, 2)


def _started() -> Moved[Any, Any]:
    return machine.start(PATIENT, SAGA_ID, TENANT_ID, ORDER, NOON)


def _woken(moved: Moved[Any, Any]) -> Moved[Any, Any]:
    assert moved.instance.wake_at
    return machine.timed_out(PATIENT, moved.instance, moved.instance.wake_at)


def test_silence_is_asked_again_under_the_same_id_after_a_pause() -> None:
    silent = _woken(_started())
    assert [entry.kind for entry in silent.entries] == [Kind.TRY_LATER]
    assert silent.asks == ()
    again = _woken(silent)
    assert [ask.command_id for ask in again.asks] == [ID]
    pause = again.entries[0].at - silent.entries[0].at
    assert timedelta(seconds=1.6) <= pause <= timedelta(seconds=2)


def test_a_refusal_worth_another_try_is_asked_anew_under_the_next_rounds_id() -> None:
    refused = machine.answered(PATIENT, _started().instance, ID, QuotaExceeded(), NOON)
    assert (refused.instance.state, refused.asks) == (State.RUNNING, ())
    again = _woken(refused)
    assert [ask.command_id for ask in again.asks] == [SECOND_ID]
    held = machine.answered(PATIENT, again.instance, SECOND_ID, QuotaReserved(), NOON)
    assert [ask.step for ask in held.asks] == [STOCK.name]


def test_an_earlier_rounds_refusal_that_comes_again_changes_nothing() -> None:
    again = _woken(machine.answered(PATIENT, _started().instance, ID, QuotaExceeded(), NOON))
    assert machine.answered(PATIENT, again.instance, ID, QuotaExceeded(), NOON) == Moved(again.instance)


def test_an_earlier_rounds_success_contradicts_its_refusal() -> None:
    again = _woken(machine.answered(PATIENT, _started().instance, ID, QuotaExceeded(), NOON))
    assert machine.answered(PATIENT, again.instance, ID, QuotaReserved(), NOON).instance.state is State.NEEDS_ATTENTION


def test_the_last_refusal_decides_and_leaves_nothing_to_undo() -> None:
    moved = _started()
    for round_ in (1, 2, 3):
        moved = machine.answered(PATIENT, moved.instance, command_id(SAGA_ID, Phase.ASK, QUOTA.name, round_), QuotaExceeded(), NOON)
        moved = _woken(moved) if round_ < 3 else moved
    assert moved.instance.why is Rejection.OVER_QUOTA
    assert [(ask.phase, ask.step) for ask in moved.asks] == [(Phase.ABANDON, "abandon")]


def test_the_last_silence_decides_and_is_undone() -> None:
    moved = _started()
    while moved.instance.why is None:
        moved = _woken(moved)
    assert moved.instance.why is Rejection.NO_ANSWER
    assert [(ask.phase, ask.step) for ask in moved.asks] == [(Phase.UNDO, QUOTA.name)]


def test_a_fault_worth_another_try_is_tried_again_under_the_same_id_and_parks_in_the_end() -> None:
    moved = machine.answered(PATIENT, _started().instance, ID, FAULT, NOON)
    assert machine.answered(PATIENT, moved.instance, ID, FAULT, NOON) == Moved(moved.instance)
    for _ in range(2):
        moved = _woken(moved)
        assert [ask.command_id for ask in moved.asks] == [ID]
        moved = machine.answered(PATIENT, moved.instance, ID, FAULT, NOON)
    assert moved.instance.state is State.PARKED


def test_a_refusal_that_is_not_worth_it_decides_at_once() -> None:
    quota = machine.answered(PATIENT, _started().instance, ID, QuotaReserved(), NOON)
    stock = command_id(SAGA_ID, Phase.ASK, STOCK.name, 1)
    assert machine.answered(PATIENT, quota.instance, stock, OutOfStock(), NOON).instance.why is Rejection.OUT_OF_STOCK


def test_an_answer_during_the_pause_counts() -> None:
    moved = machine.answered(PATIENT, _woken(_started()).instance, ID, QuotaReserved(), NOON)
    assert [ask.step for ask in moved.asks] == [STOCK.name]


def test_turning_back_during_the_pause_undoes_what_was_silent_but_not_what_refused() -> None:
    at_once = replace(PATIENT, steps=(parallel(replace(QUOTA, retry=THREE_TRIES), STOCK),))
    stock = command_id(SAGA_ID, Phase.ASK, STOCK.name, 1)
    started = machine.start(at_once, SAGA_ID, TENANT_ID, ORDER, NOON)
    refused = machine.answered(at_once, started.instance, ID, QuotaExceeded(), NOON)
    turned = machine.answered(at_once, refused.instance, stock, OutOfStock(), NOON)
    assert [(ask.phase, ask.step) for ask in turned.asks] == [(Phase.ABANDON, "abandon")]
    asking = turned.instance.asking(Phase.ASK, QUOTA.name)
    assert asking is not None
    assert asking.status is Status.REFUSED
    assert started.instance.wake_at
    silent = machine.timed_out(at_once, started.instance, started.instance.wake_at)
    turned = machine.answered(at_once, silent.instance, stock, OutOfStock(), NOON)
    assert [(ask.phase, ask.step) for ask in turned.asks] == [(Phase.UNDO, QUOTA.name)]


@pytest.mark.parametrize("tries", range(1, 12))
def test_pauses_grow_to_their_bound_and_are_up_to_a_fifth_shorter(tries: int) -> None:
    retry = Retry(attempts=99, first=timedelta(seconds=1), factor=3, longest=timedelta(seconds=50))
    full = min(3 ** (tries - 1), 50)
    pauses = {pause_before_retry(retry, tries, UUID(int=n * 7919 << 64 | n * 104729)).total_seconds() for n in range(1, 200)}
    assert full * 0.8 <= min(pauses) <= max(pauses) <= full
    assert len(pauses) > 50


def test_a_wait_is_never_shorter_than_the_steps_time() -> None:
    waits = [wait_for_answer(timedelta(seconds=90), tries, timedelta(minutes=1), ID) for tries in range(1, 200)]
    assert set(waits) == {timedelta(seconds=90)}
