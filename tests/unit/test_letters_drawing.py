"""What operators see of dead letters, replays and drained files: complete, safe for a terminal, and usable as typed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console

from infra.cli.drain.drain import Drainage
from infra.cli.drain.drawing import draw_drainage, draw_loading
from infra.cli.drain.load import Loading
from infra.cli.letters import acts_drawing as letters_acts_drawing
from infra.cli.letters import drawing as letters_drawing
from infra.cli.letters import replays_drawing

NOW: Final = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ID: Final = "0192b0c4-7a51-7c3e-9f0e-5d0c3b1a2f44"
OTHER: Final = "3f2b8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10"
STACK: Final = """Traceback (most recent call last):
  File "/srv/oaas/infra/batch.py", line 57, in commit
    decide(envelope, state)
    ~~~~~~^^^^^^^^^^^^^^^^^
  File "/srv/oaas/.venv/lib/python3.11/site-packages/pydantic/main.py", line 9, in validate
    raise it
  File "/srv/oaas/services/inventory/use_cases.py", line 12, in reserve_stock
    shelf["APPLE"]
KeyError: 'APPLE'
"""


def at(**ago: float) -> str:
    return (NOW - timedelta(**ago)).isoformat().replace("+00:00", "Z")


def letter(**more: Any) -> dict[str, Any]:
    """As the API answers it."""
    listed = {
        "id": ID,
        "tenant": OTHER,
        "state": "DEAD",
        "queue": "inventory.commands.0",
        "service": "inventory",
        "type": "inventory.ReserveStock.v1",
        "message_id": OTHER,
        "saga_id": OTHER,
        "subject": "order 7",
        "trace_id": "ab" * 16,
        "fingerprint": "f00d" * 4,
        "exception_type": "KeyError",
        "attempts": 3,
        "deaths": 1,
        "replays_in_vain": 0,
        "is_native": False,
        "is_readable": True,
        "build": "abc123",
        "sent_at": at(minutes=5),
        "first_died_at": at(minutes=4),
        "died_at": at(minutes=3),
        "revision": 0,
        "replay_id": None,
    }
    whole: dict[str, Any] = {
        "error": "'APPLE'",
        "stack": STACK,
        "headers": {},
        "x_death": None,
        "body": {"data": {"lines": [{"sku": "APPLE", "quantity": 2}]}},
        "deaths_history": [],
        "revisions": [],
        "saga": None,
        "flags": [],
    }
    return listed | whole | more


def group(count: int, fingerprint: str = "f00d" * 4, **more: Any) -> dict[str, Any]:
    found = {
        "fingerprint": fingerprint,
        "exception_type": "KeyError",
        "error": "'APPLE'",
        "count": count,
        "first_seen": at(hours=2),
        "last_seen": at(seconds=30),
        "tenants": 37,
        "queues": {"inventory.commands.0": count},
        "types": {"inventory.ReserveStock.v1": count},
        "services": {"inventory": count},
        "builds": {"abc123": count},
        "sample": ID,
    }
    return found | more


def replay(state: str = "DONE", **more: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("waiting", "sent", "settled", "known", "failed", "left_out_now"), 0)
    told = {"id": ID, "state": state, "actor": "Ada", "reason": "mended [red]", "total": 5, "detail": "", "planned_at": at(minutes=1)}
    return {**counts, **told, "is_over": state in ("DONE", "CANCELLED"), **more}


def drawn(draw: Callable[..., None], *what: Any, width: int = 120, **more: Any) -> str:
    out = Console(width=width, file=StringIO(), record=True)
    draw(out, *what, **more)
    return out.export_text()


def test_groups_show_the_most_frequent_cause_first_with_its_error_on_one_line() -> None:
    found = {"groups": [group(3), group(8_412, "beef" * 4, error="two\nlines")], "total": 8_415, "causes": 2}
    text = drawn(letters_drawing.draw_groups, found, "", NOW)
    assert "8 415 letters, 2 causes" in text
    assert text.index("beef") < text.index("f00d")
    assert "KeyError: two lines" in text
    assert "last 30.0 s ago, first 2 h 0 min ago, 37 tenants" in text
    assert "oaas dead-letters replay --fingerprint beefbeefbeefbeef --reason '...' --dry-run" in text


def test_the_next_command_keeps_the_filters_that_were_given() -> None:
    text = drawn(letters_drawing.draw_groups, {"groups": [group(1)], "total": 1, "causes": 1}, f"--tenant {ID} --not-native", NOW)
    assert f"--fingerprint f00df00df00df00d --tenant {ID} --not-native --reason" in text


@pytest.mark.parametrize(("state", "verb"), [(None, "replay"), ("DEAD", "replay"), ("ARCHIVED", "restore"), ("REPLAYING", "replays")])
def test_the_next_command_fits_the_state_that_was_asked_for(state: str | None, verb: str) -> None:
    one = {"groups": [group(1)], "total": 1, "causes": 1}
    text = drawn(letters_drawing.draw_groups, one, f"--state {state}" if state else "", NOW, state)
    assert "1 letter, 1 cause\n" in text
    assert [line.split()[2] for line in text.splitlines() if line.startswith("  oaas")] == ["show", verb]


def test_what_is_handled_is_neither_sent_nor_restored() -> None:
    text = drawn(letters_drawing.draw_groups, {"groups": [group(1)], "total": 1, "causes": 1}, "--state SETTLED", NOW, "SETTLED")
    assert ("replay " in text, "restore" in text, "there is nothing to do" in text) == (False, False, True)


def test_what_a_list_leaves_out_is_counted() -> None:
    cut = {"groups": [group(9)], "total": 12, "causes": 4}
    assert "... and 3 more causes" in drawn(letters_drawing.draw_groups, cut, "", NOW)
    revision = {"revision": 1, "actor": "Ada", "at": at(), "reason": "x", "diff": []}
    death = {"at": at(), "build": "b", "replay_id": None, "error": "x"}
    long = letter(revision=12, revisions=[revision] * 12, deaths=11, deaths_history=[death] * 11, stack="line\n" * 40)
    text = drawn(letters_drawing.draw_letter, long, NOW)
    for told in ("... and 2 more revisions", "... and 1 more death", "... 28 lines before; --json has all of them"):
        assert told in text


def test_an_error_of_pydantic_is_told_without_its_address() -> None:
    error = "1 validation error\nsku\n  Field required\n    For further information visit https://errors.pydantic.dev/2.14/v/missing"
    one = {"groups": [group(1, error=error)], "total": 1, "causes": 1}
    for text in (
        drawn(letters_drawing.draw_groups, one, "", NOW),
        drawn(letters_drawing.draw_letter, letter(error=error, stack=error), NOW),
    ):
        assert ("Field required" in text, "://" in text) == (True, False), text


def test_no_letters_is_good_news() -> None:
    assert drawn(letters_drawing.draw_groups, {"groups": [], "total": 0, "causes": 0}, "", NOW).strip() == "no dead letters: nothing to do"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_an_id_and_a_command_are_never_broken_however_narrow_the_terminal(width: int) -> None:
    page = {"letters": [letter()], "next": "c" * 40}
    texts = [
        drawn(letters_drawing.draw_letters, page, NOW, width=width),
        drawn(letters_drawing.draw_letter, letter(), NOW, width=width),
        drawn(letters_drawing.draw_groups, {"groups": [group(3)], "total": 3, "causes": 1}, "", NOW, width=width),
        drawn(replays_drawing.draw_replay, replay("STOPPED"), width=width),
    ]
    assert all(ID in text for text in texts)
    assert f"oaas dead-letters edit {ID} --reason '...'" in texts[1]
    assert "c" * 40 in texts[0]


def test_the_story_of_a_letter_is_whole() -> None:
    history = [
        {"at": at(minutes=3), "build": "abc123", "replay_id": OTHER, "error": "again"},
        {"at": at(hours=3), "build": "abc122", "replay_id": None, "error": "'APPLE'"},
    ]
    diff = [{"path": "lines[0].quantity", "before": 1, "after": 2}]
    more = {
        "deaths": 2,
        "deaths_history": history,
        "revision": 1,
        "revisions": [{"revision": 1, "actor": "Ada", "at": at(minutes=2), "reason": "they want two", "diff": diff}],
        "saga": {"name": "place-order", "state": "PARKED", "step": "reserve-stock", "why": None, "at": at(minutes=3)},
        "flags": ["held back: it was replayed in vain 3 times"],
    }
    text = drawn(letters_drawing.draw_letter, letter(**more), NOW)
    for told in (
        "inventory.ReserveStock.v1 DEAD",
        "! held back",
        "2 times since 2026-03-01 21:56:00Z, after 3 attempts",
        "in inventory of build abc123",
        "KeyError: 'APPLE'",
        "Its saga place-order is PARKED, at reserve-stock",
        "What it says, as it was edited",
        '"sku": "APPLE"',
        "1. Ada, 2 min 0 s ago: they want two",
        "lines[0].quantity: 1 -> 2",
        f"replayed by {OTHER}: again",
    ):
        assert told in text, told


def test_the_stack_shows_the_frames_that_are_ours() -> None:
    assert list(letters_drawing.own_frames(STACK)) == [
        "infra/batch.py:57 commit   decide(envelope, state)",
        'services/inventory/use_cases.py:12 reserve_stock   shelf["APPLE"]',
    ]
    assert list(letters_drawing.own_frames("no stack\nat all")) == ["no stack", "at all"]
    assert list(letters_drawing.own_frames("")) == []


@pytest.mark.parametrize(
    ("state", "more", "verbs"),
    [
        ("DEAD", {}, ["why", "list", "edit", "replay", "replay", "archive"]),
        ("DEAD", {"is_readable": False, "saga_id": None}, ["list", "replay", "archive"]),
        ("REPLAYING", {"replay_id": OTHER}, ["replays"]),
        ("SETTLED", {}, ["why"]),
        ("SETTLED", {"saga_id": None}, []),
        ("ARCHIVED", {}, ["restore", "purge"]),
    ],
)
def test_what_can_be_done_next_follows_from_how_it_stands(state: str, more: dict[str, Any], verbs: list[str]) -> None:
    commands = letters_drawing.to_do(letter(state=state, **more))
    assert [command.split()[2 if "dead-letters" in command else 1] for command in commands] == verbs


@pytest.mark.parametrize(
    ("state", "verbs"),
    [
        ("PLANNED", ["replay", "cancel"]),
        ("RUNNING", ["replays", "pause", "cancel"]),
        ("PAUSED", ["resume", "cancel"]),
        ("STOPPED", ["groups", "resume", "cancel"]),
        ("DONE", []),
        ("CANCELLED", []),
    ],
)
def test_what_can_be_done_with_a_replay_follows_from_its_state(state: str, verbs: list[str]) -> None:
    assert [command.split()[2] for command in replays_drawing.to_do(replay(state))] == verbs


def test_a_plan_says_what_goes_what_stays_and_what_to_fear() -> None:
    plan = {
        "id": ID,
        "total": 12,
        "by_queue": {f"queue {number}": 1 for number in range(14)},
        "by_type": {"": 12},
        "by_tenant": {OTHER: 12},
        "left_out": {"ended": 3, "held_back": 0, "new_kind": 1},
        "warnings": ["inventory still runs the build that failed them"],
        "sample": [OTHER],
        "expires_at": at(hours=-1),
    }
    text = drawn(replays_drawing.draw_plan, plan)
    for told in ("12 letters would be sent again", "2  in 2 more", "12  no message", "--include-ended", "1  new_kind", "! inventory still"):
        assert told in text, told
    assert "held_back" not in text
    assert f"plan {ID}, to be started until 2026-03-01 23:00:00Z" in text


def test_nothing_that_anybody_wrote_reaches_the_terminal_as_a_command() -> None:
    evil = "\x1b]0;title\x07 \x9b31m [red]red[/] \u202e"
    words = dict.fromkeys(("subject", "type", "exception_type", "error", "stack", "build", "queue", "service", "fingerprint"), evil)
    body = {"data": {evil: evil}}
    revisions = [{"revision": 1, "actor": evil, "at": at(), "reason": evil, "diff": [{"path": evil, "before": evil, "after": evil}]}]
    entry = {"at": at(), "actor": evil, "verb": evil, "letter": None, "replay": None, "filter": evil, "outcome": evil, "reason": evil}
    outcome = {"letter_id": ID, "state": "FAILED", "detail": evil}
    texts = [
        drawn(letters_drawing.draw_letter, letter(**words, body=body, revisions=revisions, flags=[evil]), NOW),
        drawn(letters_drawing.draw_letter, letter(body=evil), NOW),
        drawn(letters_drawing.draw_letters, {"letters": [letter(**words)], "next": None}, NOW, width=300),
        drawn(replays_drawing.draw_replays, {"replays": [replay(reason=evil, actor=evil)], "next": None}, NOW, width=300),
        drawn(replays_drawing.draw_replay, replay("STOPPED", detail=evil, reason=evil, actor=evil), [outcome]),
        drawn(letters_acts_drawing.draw_audit, {"entries": [{**entry, "detail": evil}], "next": None}),
        drawn(letters_acts_drawing.draw_acted, "archive", {"done": 0, "refused": [{"id": ID, "why": evil}]}),
    ]
    for text in texts:
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(text), text
        assert "[red]red[/]" in text


def test_a_drained_file_says_what_to_do_with_it() -> None:
    drainage = Drainage(before=18, taken={"inventory.commands.0.dead": 3}, left={"inventory.commands.0.dead": 2})
    text = drawn(draw_drainage, drainage, Path("letters.ndjson"))
    dead = "3  inventory.commands.0.dead"
    for told in ("3 letters added to letters.ndjson, 21 in it now", dead, "2 letters more came", "oaas dead-letters load letters.ndjson"):
        assert told in text
    loaded = drawn(draw_loading, Loading("", sent=2, bad={7: "it is no JSON [red]"}), Path("letters.ndjson"))
    assert "letters.ndjson, line 7: it is no JSON [red]" in loaded
