"""The guard of what a saga costs, and the work that is measured."""

import json
from collections import Counter

import pytest

from tests.bench.figures import Latency, percentile
from tests.bench.guard import RECORDED, TOLERATED, calibrate, is_fine, verdict
from tests.bench.workload import Workload, expected


def test_a_loss_of_a_half_is_too_dear_and_the_noise_of_a_tenth_is_not() -> None:
    recorded = float(json.loads(RECORDED.read_text())["ratio"])
    assert is_fine(1.1 * recorded, recorded)
    assert not is_fine(1.5 * recorded, recorded)
    assert 1.1 < TOLERATED < 1.5
    assert "TOO DEAR" in verdict(1.5 * recorded, recorded)
    assert "fine" in verdict(recorded, recorded)


def test_the_calibration_costs_something() -> None:
    assert calibrate() > 0.01


@pytest.mark.parametrize("tenants", [1, 5, 50, 500])
def test_one_order_in_ten_of_every_tenant_asks_too_much(tenants: int) -> None:
    refused = Counter(work.tenant for work in Workload(tenants).orders(0, 20 * tenants) if work.is_refused)
    assert refused == dict.fromkeys(range(tenants), 2)


def test_what_must_be_in_the_books_adds_up() -> None:
    state = expected(Workload(), 1_000)
    assert (state.confirmed, state.rejected, state.pending) == (900, 100, 0)
    assert state.units_held == state.units_gone == sum(work.quantity for work in Workload().orders(0, 1_000) if not work.is_refused)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.95, 0.99, 1)] == [50, 95, 99, 100]
    assert Latency.of([0.010]) == Latency(10, 10, 10)
