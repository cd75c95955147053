"""A drained letter as a line of JSON: what is read back is the same to the byte, and what is none says why."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from infra.cli.drain.drained import Drained, Exactly, NoLetter, read

QUEUE: Final = "inventory.commands.0.dead"

_times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary().map(bytearray),
    st.binary().filter(lambda some: not _is_text(some)),
    _times,
    st.builds(lambda digits, scale: Decimal(digits).scaleb(-scale), st.integers(-(2**31), 2**31 - 1), st.integers(0, 9)),
)
_names = st.text(min_size=1, max_size=40)
_values = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names | st.just("$"), inner, max_size=4))
_headers = st.dictionaries(_names, _values, max_size=6)
_words = st.none() | st.text(min_size=1, max_size=40)
_letters = st.builds(
    lambda body, headers, words, priority, mode, at: Drained(
        QUEUE,
        Exactly(**words, headers=headers or None, priority=priority, delivery_mode=mode, timestamp=at),
        body,
    ),
    st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    _headers,
    st.fixed_dictionaries(
        dict.fromkeys(("content_type", "content_encoding", "correlation_id", "reply_to", "message_type", "app_id"), _words)
        | {"message_id": st.uuids().map(str)}
    ),
    st.none() | st.integers(0, 9),
    st.sampled_from([None, 1, 2]),
    st.none() | _times,
)


def _is_text(some: bytes) -> bool:
    try:
        some.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(_letters)
def test_a_letter_is_the_same_to_the_byte_after_it_was_a_line(letter: Drained) -> None:
    line = letter.line()
    assert line.count(b"\n") == 1
    back = read(line)
    assert (back.queue, back.body) == (letter.queue, letter.body)
    assert back.properties.marshal() == letter.properties.marshal()
    assert back.line() == line


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"\xff", "no text"),
        (b"{", "no JSON"),
        (b"[]", "no drained letter"),
        (b"{}", "has no 'queue'"),
        (b'{"queue": "x", "properties": {}, "headers": {}, "body": ""}', "no queue 'x'"),
        (b'{"queue": [], "properties": {}, "headers": {}, "body": ""}', "no drained letter"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {"colour": 1}, "headers": {}, "body": ""}', "colour"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": {"a": 99999999999999999999}, "body": ""}', "numeric"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": {}, "body": "\\ud800"}', "no drained letter"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": {}, "body_base64": "?"}', "no drained letter"),
        (b'{"queue": "inventory.commands.0.dead", "properties": {}, "headers": ' + b"[" * 100_000, "no drained letter"),
    ],
)
def test_what_is_no_letter_says_why(line: bytes, told: str) -> None:
    with pytest.raises(NoLetter, match=told):
        read(line)


def test_a_letter_without_an_id_gets_the_same_one_each_time() -> None:
    letters = [Drained(QUEUE, Basic.Properties(headers={"x-delivery-count": looks}), b"what") for looks in (1, 2)]
    first, second = [letter.again().message_id for letter in letters]
    assert first == second
    assert UUID(first)


def test_a_letter_is_never_sent_with_a_time_to_live() -> None:
    assert Drained(QUEUE, Basic.Properties(expiration="5", user_id="guest"), b"").again().expiration is None
