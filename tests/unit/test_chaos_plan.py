"""A plan of faults is decided by its seed alone, and names every point at which somebody meets a kind of message."""

from collections import Counter
from itertools import islice

import pytest

from contracts.values import Rejection
from infra.crash import KINDS
from infra.crash import POINTS as ALL_POINTS
from infra.services import MODULES
from tests.chaos.outages import ACTS
from tests.chaos.plan import API, OUTAGES, PROCESSES, STAB, Pace, Plan, cells, plan_of
from tests.chaos.wishes import CLOSED, SCARCE, SMALL_PLAN, TENANTS, Fate, as_confirmed, ends, wishes

POINTS = ("consume", "inbox", "save", "outbox", "commit", "committed", "publish", "confirmed", "ack")


def plan(seed: int = 1, only: tuple[str, ...] = ()) -> Plan:
    return plan_of(seed, kills=20, outages=3, stabs=10, pace=Pace(), only=only)


def test_the_same_seed_plans_the_same_faults_and_orders_and_another_seed_others() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)
    assert list(islice(wishes(7), 200)) == list(islice(wishes(7), 200))
    assert list(islice(wishes(7), 200)) != list(islice(wishes(8), 200))


def test_every_point_and_every_kind_of_message_is_killed_at_in_workers_coordinator_and_api_as_often_as_asked() -> None:
    planned = plan().wanted()
    assert {number for fault, number in planned.items() if fault.startswith("SIGKILL ") and fault != STAB} == {20}
    assert {(who, point) for who, point, _ in cells()} >= {(who, point) for who in ("worker", "coordinator") for point in POINTS}
    assert {kind for _, _, kind in cells()} == set(KINDS)
    assert {point for _, point, _ in cells()} <= set(ALL_POINTS)
    assert {process for processes in cells().values() for process in processes} == set(PROCESSES)
    assert set(PROCESSES.values()) == set(MODULES)
    assert API in PROCESSES


def test_every_outage_is_planned_and_has_a_beginning_and_an_end() -> None:
    assert Counter(outage.name for outage in plan().outages) == dict.fromkeys(OUTAGES, 3)
    assert set(OUTAGES) == set(ACTS)


def test_only_those_faults_are_planned_that_are_asked_for() -> None:
    chosen = plan(only=("coordinator: ack", "frozen"))
    assert set(chosen.wanted()) == {"SIGKILL coordinator: ack, reply", "SIGKILL coordinator: ack, event", "RabbitMQ frozen"}


def test_wishes_are_mixed_and_those_with_one_possible_end_name_it() -> None:
    wanted = list(islice(wishes(3), 2_000))
    assert {wish.tenant for wish in wanted} == set(TENANTS)
    assert {wish.fate for wish in wanted} == set(Fate)
    assert {wish.outcome for wish in wanted} == {"CONFIRMED", "COMPLETED", "CANCELLED", Rejection.PAYMENT_REFUSED.value, None}
    assert any(wish.card for wish in wanted)
    assert any(wish.is_sent_twice for wish in wanted)


@pytest.mark.parametrize(
    ("sort", "orders", "wanted"),
    [
        (SCARCE, 5, {"CONFIRMED": 3, "OUT_OF_STOCK": 2}),
        (SMALL_PLAN, 2, {"CONFIRMED": 2}),
        (CLOSED, 2, {"TENANT_SUSPENDED": 2}),
    ],
)
def test_of_those_who_come_too_late_it_is_known_how_many(sort: str, orders: int, wanted: dict[str, int]) -> None:
    assert ends(sort, orders, room=3) == Counter(wanted)
    assert as_confirmed(["COMPLETED", "CONFIRMED", "OUT_OF_STOCK"]) == Counter({"CONFIRMED": 2, "OUT_OF_STOCK": 1})
