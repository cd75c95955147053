"""A replay by itself: which verb is legal when, the canary, the rule that stops it, and whole replays with random services."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from contracts.values import TenantId
from infra.cli.letters.commands import letters_app
from services.ops.replay.machine import (
    LEGAL,
    WINDOW,
    WINDOW_LEAST,
    Finish,
    IllegalReplay,
    ItemState,
    Pace,
    Progress,
    Replay,
    Send,
    State,
    Stop,
    Trust,
    Wait,
    may_become,
)
from services.ops.replay.replay_views import StartReplay

AT: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
ON_THE_WAY_MAX: Final = 50
ENDS: Final = (ItemState.SETTLED, ItemState.KNOWN, ItemState.FAILED)


def a_replay(total: int = 100, **pace: int) -> Replay:
    """A plan that was made an hour before it is too old."""
    return Replay(
        tenant_id=TenantId(uuid4()),
        id=uuid4(),
        actor="ann",
        reason="mended",
        filter="{}",
        includes_ended=False,
        total=total,
        summary="{}",
        planned_at=AT,
        expires_at=AT + timedelta(hours=1),
        pace=Pace(**pace),
    )


def running(total: int = 100, **pace: int) -> Replay:
    replay = a_replay(total)
    replay.start(Pace(**pace), AT)
    return replay


def progress(*, more: bool = True, way: int = 0, begun: int = 0, outcomes: int = 0, failures: int = 0) -> Progress:
    return Progress(more, way, begun, outcomes, failures)


def test_a_plan_that_is_too_old_cannot_be_started() -> None:
    replay = a_replay()
    with pytest.raises(IllegalReplay, match="too old"):
        replay.start(Pace(), replay.expires_at)
    assert replay.state is State.PLANNED


def test_a_plan_without_letters_cannot_be_started() -> None:
    with pytest.raises(IllegalReplay, match="no letters"):
        a_replay(total=0).start(Pace(), AT)


def test_a_canary_is_sent_alone_and_the_others_follow_when_it_lives() -> None:
    replay = running(canary=10)
    assert replay.next_step(progress(), ON_THE_WAY_MAX) == Send(10)
    assert replay.next_step(progress(way=4, begun=4), ON_THE_WAY_MAX) == Send(6)
    assert replay.next_step(progress(way=1, begun=10, outcomes=9), ON_THE_WAY_MAX) == Wait()
    step = replay.next_step(progress(begun=10, outcomes=10), ON_THE_WAY_MAX)
    assert step == Trust()
    replay.take(step, AT)
    assert replay.next_step(progress(begun=10, outcomes=10), ON_THE_WAY_MAX) == Send(ON_THE_WAY_MAX)


def test_a_canary_that_dies_stops_the_replay_as_soon_as_nothing_can_save_it() -> None:
    replay = running(canary=10, stop_above_percent=10)
    assert replay.next_step(progress(way=8, begun=10, outcomes=2, failures=1), ON_THE_WAY_MAX) == Wait()
    step = replay.next_step(progress(way=8, begun=10, outcomes=2, failures=2), ON_THE_WAY_MAX)
    assert step == Stop("2 of the first 10 failed again")
    assert isinstance(step, Stop)
    replay.take(step, AT)
    assert (replay.state, replay.detail) == (State.STOPPED, "2 of the first 10 failed again")


def test_a_canary_larger_than_the_plan_is_the_whole_plan() -> None:
    replay = running(total=3, canary=10)
    assert replay.next_step(progress(more=False, way=1, begun=3, outcomes=2), ON_THE_WAY_MAX) == Wait()
    replay.take(Trust(), AT)
    assert replay.next_step(progress(more=False, begun=3, outcomes=3), ON_THE_WAY_MAX) == Finish()


def test_the_rule_looks_at_the_newest_outcomes_once_there_are_enough() -> None:
    replay = running(stop_above_percent=10)
    assert replay.next_step(progress(outcomes=WINDOW_LEAST - 1, failures=WINDOW_LEAST - 1), ON_THE_WAY_MAX) == Send(ON_THE_WAY_MAX)
    assert replay.next_step(progress(outcomes=WINDOW, failures=10), ON_THE_WAY_MAX) == Send(ON_THE_WAY_MAX)
    assert replay.next_step(progress(outcomes=WINDOW, failures=11), ON_THE_WAY_MAX) == Stop("11 of the last 100 failed again")


def test_nothing_more_is_sent_while_too_many_have_no_outcome() -> None:
    replay = running()
    assert replay.next_step(progress(way=ON_THE_WAY_MAX - 1), ON_THE_WAY_MAX) == Send(1)
    assert replay.next_step(progress(way=ON_THE_WAY_MAX), ON_THE_WAY_MAX) == Wait()


def test_it_is_done_only_when_everything_has_its_outcome() -> None:
    replay = running()
    assert replay.next_step(progress(more=False, way=1), ON_THE_WAY_MAX) == Wait()
    step = replay.next_step(progress(more=False), ON_THE_WAY_MAX)
    assert step == Finish()
    replay.take(Finish(), AT)
    assert replay.state.is_over
    assert replay.ended_at == AT


def test_resuming_after_a_stop_sends_a_canary_again_and_after_a_pause_does_not() -> None:
    replay = running(canary=10)
    replay.take(Trust(), AT)
    replay.pause()
    replay.resume(AT + timedelta(minutes=1))
    assert (replay.is_trusted, replay.counted_since) == (True, AT)
    replay.take(Stop("too many"), AT)
    replay.resume(AT + timedelta(minutes=2))
    assert (replay.is_trusted, replay.counted_since, replay.detail) == (False, AT + timedelta(minutes=2), "")


VERBS: Final = ("start", "pause", "resume", "cancel", "expire", "stop", "finish")
POSSIBLE: Final = {
    State.PLANNED: {"start": State.RUNNING, "cancel": State.CANCELLED, "expire": State.EXPIRED},
    State.RUNNING: {"pause": State.PAUSED, "cancel": State.CANCELLED, "stop": State.STOPPED, "finish": State.DONE},
    State.PAUSED: {"resume": State.RUNNING, "cancel": State.CANCELLED},
    State.STOPPED: {"resume": State.RUNNING, "cancel": State.CANCELLED},
    State.CANCELLED: {},
    State.DONE: {},
    State.EXPIRED: {},
}


def do(replay: Replay, verb: str) -> None:
    match verb:
        case "start":
            replay.start(Pace(), AT)
        case "pause":
            replay.pause()
        case "resume":
            replay.resume(AT)
        case "cancel":
            replay.cancel(AT, "no longer wanted")
        case "expire":
            replay.expire(AT)
        case "stop":
            replay.take(Stop("too many"), AT)
        case "finish":
            replay.take(Finish(), AT)


@given(st.lists(st.sampled_from(VERBS), max_size=12))
def test_whatever_is_tried_only_the_moves_of_the_table_happen(verbs: list[str]) -> None:
    replay = a_replay()
    for verb in verbs:
        before = replay.state
        if verb in POSSIBLE[before]:
            do(replay, verb)
            assert replay.state is POSSIBLE[before][verb]
        else:
            with pytest.raises(IllegalReplay, match=f"it is {before}"):
                do(replay, verb)
            assert replay.state is before
        assert (replay.ended_at is not None) is replay.state.is_over


def test_an_item_that_has_ended_never_goes_back() -> None:
    for state in (ItemState.SETTLED, ItemState.KNOWN, ItemState.LEFT_OUT, ItemState.CANCELLED):
        assert not LEGAL[state]
    assert may_become(ItemState.SENT) == [ItemState.SENT, ItemState.WAITING]
    assert may_become(ItemState.FAILED) == [ItemState.SENT]
    assert ItemState.FAILED in may_become(ItemState.SETTLED), "that one copy was handled outweighs that another died"


@dataclass
class Service:
    """Handles what it is sent in any order, and fails some of it; counts as the database does."""

    random: Random
    failing: float
    total: int
    items: list[ItemState] = field(default_factory=list)
    ended: list[ItemState] = field(default_factory=list)

    def sends(self, number: int) -> None:
        self.items += [ItemState.SENT] * number
        assert len(self.items) <= self.total

    def tells(self) -> None:
        for place in [place for place, state in enumerate(self.items) if state is ItemState.SENT and self.random.random() < 0.5]:
            self.items[place] = ItemState.FAILED if self.random.random() < self.failing else ItemState.SETTLED
            self.ended.append(self.items[place])

    def progress(self, window: int) -> Progress:
        newest = self.ended[-window:]
        way = self.items.count(ItemState.SENT)
        return Progress(len(self.items) < self.total, way, len(self.items), len(newest), newest.count(ItemState.FAILED))


def test_a_replay_goes_at_fifty_a_second_without_a_canary_unless_somebody_says_otherwise() -> None:
    assert StartReplay().pace == Pace() == Pace(rate=50, canary=None, stop_above_percent=10)
    typed = {one.name: one.default for one in get_command(letters_app).commands["replay"].params}  # type: ignore[attr-defined]  # a group
    assert (typed["rate"], typed["canary"], typed["stop_above"]) == (50, None, 10)


@pytest.mark.parametrize("seed", range(300))
def test_whole_replays_keep_their_promises(seed: int) -> None:
    random = Random(seed)
    total, canary = random.randint(1, 400), random.choice([None, 1, 5, 50])
    pace = Pace(50, canary, random.choice([0, 10, 50, 100]))
    service = Service(random, random.choice([0, 0.02, 0.3, 1]), total)
    replay = a_replay(total)
    replay.start(pace, AT)
    for _ in range(10_000):
        step = replay.next_step(service.progress(max(WINDOW, canary or 0)), ON_THE_WAY_MAX)
        if isinstance(step, Send):
            service.sends(random.randint(0, min(step.at_most, total - len(service.items))))
        elif isinstance(step, Trust | Stop | Finish):
            replay.take(step, AT)
        service.tells()
        assert service.items.count(ItemState.SENT) <= ON_THE_WAY_MAX
        if not replay.is_trusted:
            assert canary is not None
            assert len(service.items) <= canary
        if replay.state is not State.RUNNING:
            break
    failures = service.ended.count(ItemState.FAILED)
    if replay.state is State.DONE:
        assert (len(service.items), service.items.count(ItemState.SENT)) == (total, 0)
    else:
        assert replay.state is State.STOPPED, f"it never ended: {replay}"
        assert failures, replay.detail
    if service.failing == 1 and pace.stop_above_percent < 100 and canary and total > canary:
        assert replay.state is State.STOPPED
        assert len(service.items) <= canary, "only the canary dies"
    if not service.failing:
        assert replay.state is State.DONE
