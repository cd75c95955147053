"""The life of a dead letter: what can happen to it in which state, and what a death changes."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import pytest

from services.ops.desk.model import Death, IllegalTransition, Letter, State
from tests.unit.dead_letters import NOON, letter

LATER: Final = NOON + timedelta(hours=1)
REPLAY: Final = UUID(int=7)
Verb = Callable[[Letter], object]
VERBS: Final[dict[str, tuple[Verb, tuple[State, ...], State]]] = {
    "replaying": (lambda letter: letter.replaying(REPLAY, LATER), (State.DEAD,), State.REPLAYING),
    "given back": (lambda letter: letter.given_back(LATER), (State.REPLAYING,), State.DEAD),
    "settled": (lambda letter: letter.settled(LATER), (State.DEAD, State.REPLAYING), State.SETTLED),
    "archived": (lambda letter: letter.archived(LATER), (State.DEAD,), State.ARCHIVED),
    "restored": (lambda letter: letter.restored(LATER), (State.ARCHIVED,), State.DEAD),
    "revised": (lambda letter: letter.revised(LATER), (State.DEAD,), State.DEAD),
}


def death(at: datetime = LATER, replay_id: UUID | None = None) -> Death:
    """One more death, of something else."""
    told = {"fingerprint": "f2", "exception_type": "KeyError", "error": "e2", "stack": "s2", "build": "b2", "headers": "{}"}
    return Death(id=uuid4(), letter_id=uuid4(), at=at, attempts=4, is_native=False, replay_id=replay_id, **told)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_legal_in_its_states_only(verb: str, state: State) -> None:
    act, before, after = VERBS[verb]
    one = letter(state)
    if state in before:
        act(one)
        assert (one.state, one.changed, one.changed_at) == (after, True, LATER)
    else:
        with pytest.raises(IllegalTransition, match=f"is {state}"):
            act(one)
        assert (one.state, one.changed) == (state, False)


def test_an_edit_is_one_more_revision() -> None:
    one = letter()
    assert (one.revised(LATER), one.revised(LATER)) == (1, 2)


@pytest.mark.parametrize("state", [State.DEAD, State.SETTLED, State.ARCHIVED])
def test_whatever_it_was_a_letter_that_dies_anew_is_dead(state: State) -> None:
    one = letter(state, REPLAY)
    one.died_again(death(replay_id=REPLAY), LATER)
    # A second copy of a replay that was counted already does not count twice.
    assert (one.state, one.deaths, one.replays_in_vain) == (State.DEAD, 2, 0)
    assert (one.fingerprint, one.exception_type, one.error, one.build, one.attempts) == ("f2", "KeyError", "e2", "b2", 4)
    assert (one.first_died_at, one.died_at) == (NOON, LATER)


def test_a_death_of_its_replay_ends_the_replay_in_vain() -> None:
    one = letter(State.REPLAYING, REPLAY)
    one.died_again(death(replay_id=REPLAY), LATER)
    assert (one.state, one.replays_in_vain, one.replay_id) == (State.DEAD, 1, REPLAY)


@pytest.mark.parametrize("replay_id", [None, UUID(int=8)])
def test_a_death_that_is_not_its_replays_leaves_the_outcome_to_the_replay(replay_id: UUID | None) -> None:
    one = letter(State.REPLAYING, REPLAY)
    one.died_again(death(replay_id=replay_id), LATER)
    assert (one.state, one.replays_in_vain, one.deaths, one.error) == (State.REPLAYING, 0, 2, "e2")


def test_an_older_death_that_comes_to_be_known_later_tells_nothing_new() -> None:
    one = letter()
    before = NOON - timedelta(hours=1)
    one.died_again(death(before), LATER)
    assert (one.deaths, one.error, one.died_at, one.first_died_at, one.newest) == (2, "x", NOON, before, None)


def test_a_letter_is_held_back_after_three_replays_in_vain() -> None:
    one = letter()
    held_back = []
    for number in range(4):
        held_back.append(one.is_held_back)
        one.replaying(UUID(int=number), LATER)
        one.died_again(death(replay_id=UUID(int=number)), LATER)
    assert held_back == [False, False, False, True]


def test_a_letter_is_too_old_once_its_service_may_have_forgotten_it() -> None:
    one, keep = letter(), timedelta(days=30)
    assert not one.is_too_old(NOON + keep, keep)
    assert one.is_too_old(NOON + keep + timedelta(seconds=1), keep)
    # It was on its way before it died, and may have been handled then.
    one.sent_at = NOON - timedelta(days=1)
    assert one.is_too_old(NOON + keep, keep)
