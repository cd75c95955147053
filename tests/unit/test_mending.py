"""Editing what a letter says: what its contract takes, what stays whatever is sent, and what is told of the difference."""

import json
from typing import Any, Final

import pytest

from contracts.catalog import CATALOG
from services.ops.desk.masking import MASK
from services.ops.mend.mending import Change, NotMendable, WrongData, differences, edit

ORDER: Final = "3f2b8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10"
OTHER: Final = "4a2b8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10"
TOKEN: Final = "tok_visa"
DATA: Final[dict[str, Any]] = {"order_id": ORDER, "amount": 100, "token": TOKEN}


def body(data: Any = DATA, type: str = "payments.AuthorisePayment.v1") -> str:
    """An envelope that nobody could handle."""
    return json.dumps({"id": OTHER, "type": type, "subject": ORDER, "tenantid": OTHER, "extension": 7, "data": data})


def wrong(data: dict[str, Any], stored: Any = DATA, type: str = "payments.AuthorisePayment.v1") -> dict[str, str]:
    with pytest.raises(WrongData) as refused:
        edit(body(stored, type), data)
    return {error["field"]: error["message"] for error in refused.value.errors}


def test_only_the_data_changes() -> None:
    edited = edit(body(), {**DATA, "amount": 7})
    assert json.loads(edited.body) == {**json.loads(body()), "data": {**DATA, "amount": 7}}
    assert edited.diff == (Change("amount", 100, 7),)


def test_the_same_data_changes_nothing_byte_for_byte() -> None:
    assert edit(body(), {name: DATA[name] for name in reversed(DATA)}).body == body()
    assert edit(body(), DATA).diff == ()


def test_data_that_breaks_its_contract_can_be_mended() -> None:
    broken: list[Any] = [{**DATA, "amount": "much"}, {"order_id": ORDER}, {}, [], None, "text"]
    for stored in broken:
        assert json.loads(edit(body(stored), DATA).body)["data"] == DATA


def test_what_the_contract_does_not_take_is_refused_field_by_field() -> None:
    assert wrong({"order_id": ORDER, "amount": -1, "colour": "red"}) == {
        "data.amount": "must be at least 0",
        "data.token": "is missing: give a value",
        "data.colour": "is not a field of this request: leave it out",
    }


def test_a_field_of_another_release_may_stay_as_it_is_and_only_so() -> None:
    stored = {**DATA, "newer": [1]}
    assert edit(body(stored), {**stored, "amount": 7}).diff == (Change("amount", 100, 7),)
    assert set(wrong({**stored, "newer": [2]}, stored)) == {"data.newer"}


def test_what_a_message_is_about_stays() -> None:
    assert wrong({**DATA, "order_id": OTHER})["data.order_id"].startswith(f"must stay {ORDER}: ")


def test_a_broken_order_id_may_become_what_the_envelope_is_about_and_nothing_else() -> None:
    stored = {**DATA, "order_id": "broken"}
    assert json.loads(edit(body(stored), DATA).body)["data"] == DATA
    assert wrong({**DATA, "order_id": OTHER}, stored)["data.order_id"].startswith(f"must stay {ORDER}: ")


def test_an_edited_order_id_is_measured_by_what_died() -> None:
    died = body({**DATA, "order_id": "broken"})
    now = edit(died, DATA).body
    assert edit(now, {**DATA, "amount": 7}, died).diff == (Change("amount", 100, 7),)


def test_a_hidden_secret_stays_what_it_is() -> None:
    edited = edit(body(), {**DATA, "amount": 7, "token": MASK})
    assert json.loads(edited.body)["data"] == {**DATA, "amount": 7}
    assert set(wrong({**DATA, "token": MASK}, {"order_id": ORDER, "amount": 1})) == {"data.token"}


def test_a_changed_secret_is_told_as_changed_and_not_what_it_is() -> None:
    edited = edit(body(), {**DATA, "token": "tok_other"})
    assert json.loads(edited.body)["data"]["token"] == "tok_other"
    assert edited.diff == (Change("token", MASK, MASK),)


@pytest.mark.parametrize("text", ["{", "[]", "7", json.dumps({"type": "x"}), body(type="nobody.Knows.v1"), body(type=json.dumps(7))])
def test_what_is_no_message_that_anybody_knows_is_not_edited(text: str) -> None:
    with pytest.raises(NotMendable):
        edit(text, DATA)


def test_each_message_there_is_can_be_looked_at() -> None:
    for name in CATALOG:
        if any(field.is_required() for field in CATALOG[name].model_fields.values()):
            assert wrong({}, {}, name), name
        else:
            assert edit(body({}, name), {}).diff == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [Change("a", 1, True)]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [Change("a[1]", 2, 3), Change("a[2]", None, 4)]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 2}}, [Change("a.b", 1, 2), Change("a.c", 2, None)]),
        ({"a": [1]}, {"a": {"b": 1}}, [Change("a", [1], {"b": 1})]),
        (None, {}, [Change("data", None, {})]),
    ],
)
def test_each_value_that_differs_is_told(before: Any, after: Any, expected: list[Change]) -> None:
    assert list(differences(before, after)) == expected
