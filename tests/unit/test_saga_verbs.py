"""Verb x state: every cell of the table in sagas/engine/verbs.py is done, and what follows is told, or is refused with why."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any, Final

import pytest

from sagas.engine import verbs
from sagas.engine.instance import Instance, State
from sagas.engine.verbs import IllegalVerb, Verb, why_not
from tests.kit import NOON, Operator, play
from tests.unit.saga_places import PLACES, TRIP_SAGA
from tests.unit.test_saga_trip import TRIP

LATER: Final = NOON + timedelta(days=3)
CELLS: Final = [(place, verb) for place in PLACES for verb in Verb]


@cache
def _at(place: str) -> Instance[Any, Any]:
    return play(TRIP_SAGA, TRIP, PLACES[place].lines)


@pytest.mark.parametrize("place", PLACES)
def test_the_place_is_where_it_says(place: str) -> None:
    assert _at(place).state is PLACES[place].state


@pytest.mark.parametrize(("place", "verb"), CELLS)
def test_each_verb_does_what_the_table_says_or_says_why_not(place: str, verb: Verb) -> None:
    instance, expected = _at(place), getattr(PLACES[place], verb)
    operator = Operator(verb, answer=PLACES[place].answer if verb is Verb.SKIP else None)
    if isinstance(expected, str):
        assert why_not(TRIP_SAGA, instance)[verb] == expected
        with pytest.raises(IllegalVerb) as illegal:
            operator.act(TRIP_SAGA, instance, LATER)
        assert str(illegal.value) == f"cannot {verb}: {expected}"
        return
    assert why_not(TRIP_SAGA, instance)[verb] is None
    moved = operator.act(TRIP_SAGA, instance, LATER)
    assert (moved.instance.state, type(moved.asks[0].command) if moved.asks else None) == expected
    assert (moved.instance.revision, moved.instance.progressed_at) == (instance.revision + 1, LATER)
    assert {(entry.actor, entry.at) for entry in moved.entries} == {("Olive", LATER)}
    assert [entry.reason for entry in moved.entries if entry.reason] == ["it must go on"]


def _rows(table: str) -> dict[State, dict[Verb, str]]:
    lines = [line.split("  ") for line in table.splitlines() if line.startswith("    ")]
    columns, *rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert columns == list(Verb)
    return {_state(row[0].rstrip(".")): dict(zip(Verb, row[1:], strict=True)) for row in rows}


def _state(beginning: str) -> State:
    return next(state for state in State if state.startswith(beginning))


def _disagreements(table: str) -> Iterator[str]:
    """What the table says otherwise than the engine, at one of the places."""
    rows = _rows(table)
    for name, place in PLACES.items():
        instance = _at(name)
        said = why_not(TRIP_SAGA, instance)
        is_before_pivot = not place.is_past and instance.why is None
        for verb, cell in rows[place.state].items():
            is_legal = {"yes": True, "before pivot": is_before_pivot, "-": False}[cell]
            nothing_to_skip = verb is Verb.SKIP and not instance.outstanding
            if (said[verb] is None) is not (is_legal and not nothing_to_skip):
                yield f"{name}: {verb} is {cell!r}, the engine says {said[verb]}"


def test_the_table_in_the_docstring_is_what_the_engine_says() -> None:
    assert verbs.__doc__
    assert set(_rows(verbs.__doc__)) == {place.state for place in PLACES.values()} == set(State)
    assert list(_disagreements(verbs.__doc__)) == []


@pytest.mark.parametrize(
    ("old", "new"), [("before pivot     yes     -", "-                yes     -"), ("-       yes     ", "yes     yes     ")]
)
def test_a_table_that_has_rotted_is_seen(old: str, new: str) -> None:
    assert verbs.__doc__
    assert list(_disagreements(verbs.__doc__.replace(old, new, 1))) != []
