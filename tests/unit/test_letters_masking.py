"""A card's token is hidden wherever a payload is shown, and comes back when what is hidden is sent back."""

import json
from typing import Any

import pytest

from contracts.orders import OrderPlaced
from contracts.payments import AuthorisePayment
from services.ops.desk.masking import MASK, SECRETS, masked, masked_diff, masked_text, unmasked

TOKEN = "tok_1"


def test_every_field_of_any_contract_that_holds_a_token_is_known() -> None:
    assert {"token", "payment"} == SECRETS
    assert "token" in AuthorisePayment.model_fields
    assert "payment" in OrderPlaced.model_fields


@pytest.mark.parametrize(
    "value",
    [
        {"token": TOKEN},
        {"data": {"payment": TOKEN}},
        {"data": [{"x": {"token": [TOKEN]}}]},
        {"token": {"deep": TOKEN}},
    ],
)
def test_a_token_is_hidden_however_deep_and_comes_back(value: Any) -> None:
    hidden = masked(value)
    assert TOKEN not in json.dumps(hidden)
    assert MASK in json.dumps(hidden)
    assert unmasked(hidden, value) == value


def test_what_is_no_secret_is_shown() -> None:
    value = {"data": {"payment": None, "lines": [{"sku": "token"}], "total": 5}}
    assert masked(value) == value
    assert unmasked(value, {}) == value


def test_a_new_token_is_taken_as_it_is() -> None:
    assert unmasked({"token": "tok_2", "x": 1}, {"token": TOKEN}) == {"token": "tok_2", "x": 1}


def test_a_mask_where_there_was_nothing_stays_a_mask() -> None:
    assert unmasked({"token": MASK, "more": [{"token": MASK}]}, {"more": []}) == {"token": MASK, "more": [{"token": MASK}]}


@pytest.mark.parametrize(
    "text",
    [
        '{"token": "tok_1"}',
        '{"token":"tok_1',
        "{'token' : 'tok_1', 'x': 2}",
        '{"token": tok_1}',
        '{"payment": "a\\"tok_1"}',
        '[{"x": 1, "payment":\n"tok_1"',
    ],
)
def test_a_token_is_hidden_in_what_is_no_json_any_more(text: str) -> None:
    assert TOKEN not in masked_text(text)
    assert MASK in masked_text(text)


@pytest.mark.parametrize("path", ["token", "data.token", "data.payment", "lines[0].token", "token[1]"])
def test_a_token_is_hidden_in_what_an_edit_changed(path: str) -> None:
    [change] = masked_diff([{"path": path, "before": TOKEN, "after": None}])
    assert change == {"path": path, "before": MASK, "after": None}


def test_what_else_an_edit_changed_is_shown() -> None:
    changes = [{"path": "total", "before": 1, "after": 2}, {"path": "data", "before": {"token": TOKEN}, "after": {}}]
    assert masked_diff(changes) == [changes[0], {"path": "data", "before": {"token": MASK}, "after": {}}]
