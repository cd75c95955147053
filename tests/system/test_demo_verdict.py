"""The demonstration says so when something is off. These need no platform."""

from collections import Counter
from dataclasses import replace
from uuid import uuid4

import pytest

from contracts.values import OrderLine, OrderStatus
from infra.dev.demo_client import Order, Retailer, Stock, Usage
from infra.dev.demo_crowd import expected, wishes
from infra.dev.demo_proof import Account, Shelf
from infra.dev.demo_report import Score

STOCK = Stock(available=8, held=2, consumed=0, received=10)
USAGE = Usage(orders_held=1, orders_settled=0, pence_held=500, pence_settled=0, pence_in_ledger=500)


async def _ask(*_words: object) -> dict[str, object]:
    raise AssertionError("nobody asks anything here")


def _account() -> Account:
    order = Order(uuid4(), OrderStatus.CONFIRMED, None, 500, (OrderLine(sku="sourdough", quantity=2),))
    return Account(Retailer(_ask, "Crumb & Co", uuid4()), [order], USAGE, USAGE, (Shelf("sourdough", STOCK, STOCK),))


def _score(account: Account) -> Score:
    outcomes = Counter({"CONFIRMED": 1})
    return Score(stories={"order confirmed": "passed"}, outcomes=outcomes, expected=Counter(outcomes), accounts=[account])


def test_all_is_well_when_everything_is_as_it_must_be() -> None:
    assert _score(_account()).is_well


def test_a_unit_that_is_held_for_no_order_is_off() -> None:
    counted = replace(STOCK, available=7, held=3)
    score = _score(replace(_account(), shelves=(Shelf("sourdough", counted, STOCK),)))
    assert not score.is_well
    assert score.as_json()["conserved"] is False


def test_quota_that_is_held_for_no_order_is_off() -> None:
    assert not _score(replace(_account(), usage=replace(USAGE, orders_held=2))).is_well


def test_an_order_that_never_ends_is_off() -> None:
    account = _account()
    assert not _score(replace(account, orders=[replace(account.orders[0], status=OrderStatus.PENDING)])).is_well


@pytest.mark.parametrize("story", ["failed: Unexpected('late')", ""])
def test_a_story_that_did_not_pass_is_off(story: str) -> None:
    score = _score(_account())
    score.stories["inventory down"] = story
    assert not score.is_well


def test_an_outcome_that_must_not_be_is_off() -> None:
    score = _score(_account())
    score.outcomes["NO_ANSWER"] += 1
    assert not score.is_well


def test_no_proof_is_no_success() -> None:
    assert not Score(stories={"order confirmed": "passed"}).is_well


def test_the_crowd_is_the_same_every_time_and_every_order_has_its_outcome() -> None:
    assert wishes(500) == wishes(500)
    assert expected(wishes(500)).total() == 500
    assert set(expected(wishes(500))) == {"CONFIRMED", "OUT_OF_STOCK", "OVER_QUOTA", "TENANT_SUSPENDED"}
