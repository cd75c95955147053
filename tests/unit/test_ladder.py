"""Which rung of the retry ladder an envelope waits on, and when it is given up."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from hypothesis import example, given
from hypothesis import strategies as st

from contracts.addresses import RETRY_AFTER_MS, RETRY_LANES, retry_wait_ms
from contracts.inventory import ReleaseStock
from contracts.messages import Envelope
from contracts.values import OrderId, TenantId
from infra.ladder import rung_for
from infra.settings import Settings

AT: Final = datetime(2026, 11, 23, tzinfo=UTC)
RETRIES_MAX: Final = Settings.model_fields["retries_max"].default
LAST: Final = len(RETRY_AFTER_MS) - 1
WAITS_MS: Final = [retry_wait_ms(rung, lane) for rung in range(LAST + 1) for lane in range(len(RETRY_LANES))]


def envelope(left: timedelta | None = None, id: UUID | None = None) -> Envelope:
    """One that expires when that much time has passed; None: never."""
    data = ReleaseStock(order_id=OrderId(uuid4()))
    about = {"source": "/sagas", "type": "inventory.ReleaseStock.v1", "subject": "x", "time": AT, "tenantid": TenantId(uuid4())}
    return Envelope(id=id or uuid4(), expires=None if left is None else AT + left, data=data, **about)


def wait_of(rung: tuple[int, int]) -> timedelta:
    return timedelta(milliseconds=retry_wait_ms(*rung))


def test_each_try_waits_longer_than_the_one_before_until_the_last_rung_which_repeats() -> None:
    one = envelope()
    rungs = [rung_for(one, tries, AT, RETRIES_MAX) for tries in range(1, RETRIES_MAX + 1)]
    assert [rung[0] for rung in rungs if rung] == [*range(LAST + 1), *[LAST] * (RETRIES_MAX - LAST - 1)]


def test_what_never_expires_is_given_up_after_so_many_waits() -> None:
    assert rung_for(envelope(), RETRIES_MAX, AT, RETRIES_MAX) is not None
    assert rung_for(envelope(), RETRIES_MAX + 1, AT, RETRIES_MAX) is None
    assert rung_for(envelope(timedelta(days=300)), RETRIES_MAX + 1, AT, RETRIES_MAX) is None


def test_what_the_desk_sends_again_is_tried_as_often_as_an_event_though_its_saga_stopped_waiting_long_ago() -> None:
    expired = envelope(timedelta(hours=-1))
    assert rung_for(expired, 1, AT, RETRIES_MAX) is None
    assert rung_for(expired, 1, AT, RETRIES_MAX, is_replay=True) is not None
    assert rung_for(expired, RETRIES_MAX + 1, AT, RETRIES_MAX, is_replay=True) is None


@given(left_ms=st.integers(-1000, 2_000_000), tries=st.integers(1, 30))
def test_a_command_comes_back_before_it_expires_and_waits_as_long_as_it_may(left_ms: int, tries: int) -> None:
    left = timedelta(milliseconds=left_ms)
    rung = rung_for(envelope(left), tries, AT, RETRIES_MAX)
    due = min(tries - 1, LAST)
    fitting = [wait for wait in WAITS_MS if wait < left_ms and wait <= retry_wait_ms(due, 1)]
    if rung is None:
        assert not fitting or tries > RETRIES_MAX
        return
    assert wait_of(rung) < left
    # Not the other lane of a shorter rung while one of a longer rung fits.
    assert rung[0] == max(number for number in range(due + 1) if any(retry_wait_ms(number, lane) < left_ms for lane in (0, 1)))


@given(left_s=st.floats(0.001, 3600))
@example(15.0)
def test_a_command_that_always_fails_ends_soon_before_it_expires_after_few_tries(left_s: float) -> None:
    left = timedelta(seconds=left_s)
    one, at, tries = envelope(left), AT, 1
    while (rung := rung_for(one, tries, at, RETRIES_MAX)) is not None:
        at += wait_of(rung)
        tries += 1
        assert one.expires is not None
        assert at < one.expires
        assert tries < 50
    # It is given up only once no wait fits any more, or after all that an event would get.
    assert left - (at - AT) <= timedelta(milliseconds=min(WAITS_MS)) or tries > RETRIES_MAX


def test_a_crowd_takes_both_lanes_and_one_of_it_changes_lanes() -> None:
    lanes = Counter(rung[1] for rung in (rung_for(envelope(), 1, AT, RETRIES_MAX) for _ in range(1000)) if rung)
    assert min(lanes.values()) > 400
    assert len(lanes) == len(RETRY_LANES)
    one = envelope()
    assert len({rung[1] for rung in (rung_for(one, tries, AT, RETRIES_MAX) for tries in (1, 2)) if rung}) == 2


def test_the_same_failure_always_takes_the_same_rung() -> None:
    one = envelope()
    assert len({rung_for(one, 3, AT, RETRIES_MAX) for _ in range(10)}) == 1
