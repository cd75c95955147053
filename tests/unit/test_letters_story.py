"""The story of a death is told by our consumer, by the broker, or by nobody; the broker also tells of what was no death."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from services.ops.taking_in.epitaph import Story, cut, plain, story_of

NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
QUEUE: Final = "inventory.commands.0"
WAITED: Final = {"queue": "retry.500.0", "reason": "expired", "count": 4, "time": NOON}
_ID: Final = "018f3a52-7c1e-7000-8000-000000000001"


def story(**headers: Any) -> Story:
    return story_of(QUEUE, {name.replace("_", "-"): value for name, value in headers.items()}, NOON)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("delivery_limit", "DeliveryLimit"), ("rejected", "Rejected"), ("expired", "Expired"), ("maxlen", "QueueFull"), ("else", "else")],
)
def test_the_brokers_reason_is_the_kind_and_the_cause(reason: str, kind: str) -> None:
    at = NOON - timedelta(minutes=3)
    told = story(x_death=[{"queue": QUEUE, "reason": reason, "count": 2, "time": at}])
    assert (told.is_native, told.exception_type, told.times_dead, told.died_at) == (True, kind, 2, at)
    assert told.fingerprint == story(x_death=[{"queue": QUEUE, "reason": reason, "count": 9}]).fingerprint
    assert (
        told.fingerprint != story_of("orders.commands.0", {"x-death": [{"queue": "orders.commands.0", "reason": reason}]}, NOON).fingerprint
    )


def test_the_word_on_the_queue_itself_counts_wherever_it_stands() -> None:
    own = {"queue": QUEUE, "reason": "delivery_limit", "count": 1}
    assert story(x_death=[WAITED, own, WAITED]).exception_type == "DeliveryLimit"
    assert not story(x_death=[WAITED]).is_native


def test_what_waited_on_the_ladder_and_was_then_given_up_by_its_service_is_not_native() -> None:
    own = {"queue": QUEUE, "reason": "rejected", "count": 1}
    told = story(x_death=[own, WAITED], x_letter=str(uuid4()), x_exception_type="KeyError", x_attempt=5)
    assert (told.is_native, told.is_parked, told.exception_type, told.attempts) == (False, True, "KeyError", 5)


@pytest.mark.parametrize("at", [NOON + timedelta(hours=1), NOON - timedelta(days=400), NOON.replace(tzinfo=None), "noon", None])
def test_a_time_that_cannot_be_is_the_time_at_which_the_letter_came(at: object) -> None:
    assert story(x_death=[{"queue": QUEUE, "reason": "rejected", "time": at}]).died_at == NOON


@pytest.mark.parametrize("replay", ["", "x", _ID, f"{_ID}/", f"{_ID}/x", f"{_ID}/{_ID}/{_ID}", 5, None])
def test_a_replay_that_is_not_told_properly_is_none(replay: object) -> None:
    assert story(x_replay=replay).replay is None


def test_a_tenant_is_believed_of_our_own_consumer_only() -> None:
    tenant = uuid4()
    assert story(x_tenant=str(tenant)).tenant_id is None
    assert story(x_tenant=str(tenant), x_letter=str(uuid4())).tenant_id == tenant


def test_text_is_cut_to_what_a_column_takes() -> None:
    assert cut("a\x00b\ud800c", 100) == "a\\x00b\\ud800c"
    assert cut("\x00" * 100, 10) == "\\x00\\x00\\x"


def test_a_header_that_holds_itself_too_deep_is_cut() -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    assert "..." in str(plain(deep))
