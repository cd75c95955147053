"""Cursors: what was encoded is decoded, and nothing else is."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.http import Problem, decode_cursor, encode_cursor


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)), st.uuids())  # noqa: DTZ001
def test_a_cursor_is_decoded_to_the_microsecond(created_at: datetime, id: UUID) -> None:
    assert decode_cursor(encode_cursor(created_at, id)) == (created_at, id)


@given(st.text(max_size=40))
def test_any_other_text_is_a_400_and_nothing_else(text: str) -> None:
    try:
        decode_cursor(text)
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017


@pytest.mark.parametrize("cursor", ["", "x", "/" * 32, "=" * 32, "A" * 31, "A" * 33, "_" * 32, "f" + "_" * 31, "é" * 32, "\x00" * 32])
def test_a_cursor_that_was_tampered_with_is_refused(cursor: str) -> None:
    if cursor == "_" * 32:
        # Every bit set is a microsecond before 1970: well-formed, and harmless, for a cursor grants nothing.
        assert decode_cursor(cursor)[0].year == 1969
        return
    with pytest.raises(Problem) as refused:
        decode_cursor(cursor)
    assert refused.value.status == 400
