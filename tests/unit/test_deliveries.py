"""What a frame's headers say of its envelope, and what they cannot make anybody believe."""

from typing import Any, Final
from uuid import uuid4

import pytest

from contracts import headers
from infra.deliveries import Arrival, Delivery, Replay, arrivals
from infra.frames import Unreadable

SOME_ID: Final = "018f3a52-7c1e-7000-8000-000000000001"

ONE = b'[{"id": 1}]'
TWO = b'[{"id": 1}, {"id": 2}]'


class Message:
    async def ack(self) -> None: ...


def opened(told: dict[str, Any], body: bytes = ONE) -> list[Arrival[Any]]:
    return arrivals(Delivery(Message(), body, redelivered=False, id="1", headers=told))


def test_a_frame_of_one_says_how_often_it_was_tried_and_who_waits_to_hear_of_it() -> None:
    replay = Replay(uuid4(), uuid4())
    [arrival] = opened({headers.ATTEMPT: 3, headers.REPLAY: str(replay), headers.COUNT: 1, "x-death": [{}]})
    assert (arrival.tries, arrival.replay) == (3, replay)
    assert isinstance(arrival.envelope, Unreadable)


def test_a_frame_that_says_nothing_was_never_tried() -> None:
    [arrival] = opened({})
    assert (arrival.tries, arrival.replay) == (0, None)


@pytest.mark.parametrize("attempt", [-1, "3", True, 3.0, None, 10**9, b"3", [3], {"x": 1}])
def test_an_attempt_that_makes_no_sense_is_none(attempt: object, caplog: pytest.LogCaptureFixture) -> None:
    assert opened({headers.ATTEMPT: attempt})[0].tries == 0
    assert ("makes no sense" in caplog.text) == (attempt is not None)


@pytest.mark.parametrize(
    "replay",
    ["", "x", "/", SOME_ID, f"{SOME_ID}/", f"{SOME_ID}/{SOME_ID}/{SOME_ID}", f"{SOME_ID}/x", 7, b"x/y", [SOME_ID], "/" * 10**6],
)
def test_a_replay_that_makes_no_sense_is_none(replay: object, caplog: pytest.LogCaptureFixture) -> None:
    assert opened({headers.REPLAY: replay})[0].replay is None
    assert "makes no sense" in caplog.text
    assert len(caplog.text) < 1000


def test_headers_of_a_frame_of_many_say_nothing_of_any(caplog: pytest.LogCaptureFixture) -> None:
    told = {headers.ATTEMPT: 3, headers.REPLAY: str(Replay(uuid4(), uuid4()))}
    assert [(arrival.tries, arrival.replay) for arrival in opened(told, TWO)] == [(0, None)] * 2
    assert "makes no sense" in caplog.text
