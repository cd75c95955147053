"""The Prefer header, as RFC 7240 has it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.preferences import preferences, wait_s


@pytest.mark.parametrize(
    ("headers", "granted_s"),
    [
        (["wait=5"], 5),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5),
        (["WAIT = 5"], 5),
        (['wait="5"'], 5),
        (["wait=5; strict=1, foo"], 5),
        (['foo="a,wait=9", wait=5'], 5),
        (["wait=5, wait=9"], 5),
        (["wait=600"], 30),
        (["wait=0"], 0),
        ([], None),
        (["respond-async"], None),
    ],
)
def test_a_client_that_would_wait_is_understood(headers: list[str], granted_s: int | None) -> None:
    assert wait_s(headers, 30) == granted_s


@pytest.mark.parametrize(
    "header", ["wait", "wait=", 'wait=""', "wait=abc", "wait=-5", "wait=5.5", "wait=5 s", 'wait="5', "=5", "wait==5", ",,;", "wait=٥"]
)
def test_a_preference_that_cannot_be_read_is_ignored(header: str) -> None:
    assert wait_s([header], 30) is None


def test_a_malformed_preference_hides_no_other() -> None:
    assert preferences(['!?, =, return=minimal, foo="a\\"b"']) == {"return": "minimal", "foo": 'a"b'}


@given(st.lists(st.text(max_size=40), max_size=4))
def test_no_header_is_an_error(headers: list[str]) -> None:
    granted = wait_s(headers, 30)
    assert granted is None or 0 <= granted <= 30


@pytest.mark.parametrize("header", ["a" + " " * 60_000 + '!"', '"' + '\\"' * 30_000, "wait=5, " + "x" * 60_000])
def test_a_header_made_to_be_slow_is_ignored_at_once(header: str) -> None:
    began = time.perf_counter()
    assert wait_s([header], 30) is None
    assert time.perf_counter() - began < 0.5
