"""Whatever lies in a dead-letter queue is stored: no letter is lost for what it holds, and none holds up those behind it."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from contracts.values import TenantId
from infra.clock import now
from services.ops.desk.model import NOBODY
from services.ops.main import SERVICE
from services.ops.taking_in.opening import Arrived, open_letters
from tests.integration.letters import QUEUE, Dying, LetterDesk, a_letter, dying, forget_all, letter_desk, publish, rows, taken_in
from tests.integration.messaging import Stage, reserve, working

NUL: Final = "a\x00b"


@pytest.fixture
async def desk(stage: Stage, tmp_path: Path) -> AsyncIterator[Stage]:
    """A worker of the desk, draining."""
    await forget_all(stage)
    async with working(SERVICE, stage.settings, tmp_path):
        yield stage


@pytest.fixture
async def operator(stage: Stage, tmp_path: Path) -> AsyncIterator[LetterDesk]:
    async with letter_desk(stage.settings, tmp_path) as opened:
        yield opened


def sent(body: bytes, **headers: Any) -> Dying:
    """A message with these headers only."""
    return Dying(body, {name.replace("_", "-"): value for name, value in headers.items()}, str(uuid4()))


BODIES: Final = {
    "empty": (b"", "TEXT"),
    "no JSON": (b"not json", "TEXT"),
    "no UTF-8": (b"\xff\xfe\x00", "BASE64"),
    "NUL": (b'[{"id": "\x00"}]', "BASE64"),
    "a lone surrogate": (b'[{"id": "\\ud800"}]', "TEXT"),
    "an object": (b"{}", "TEXT"),
    "no items": (b"[]", "TEXT"),
    "too deep": (b"[" * 2000, "TEXT"),
    "null": (b"[null]", "ENVELOPE"),
    "a number": (b"[17]", "ENVELOPE"),
    "not a number": (b'[{"id": NaN}]', "ENVELOPE"),
    "a number of 5000 digits": (b'[{"id": ' + b"1" * 5000 + b"}]", "TEXT"),
    "wrong kinds": (b'[{"id": 1, "type": [], "tenantid": {}, "sagaid": true, "time": 5, "subject": null, "traceparent": []}]', "ENVELOPE"),
    "huge": (b'[{"data": "' + b"x" * 8_000_000 + b'"}]', "ENVELOPE"),
}


async def test_every_body_is_stored_and_shown_and_the_next_letter_too(desk: Stage, operator: LetterDesk) -> None:
    for body, _ in BODIES.values():
        await publish(desk, sent(body, x_letter=str(uuid4())), a_letter())
    await taken_in(desk, letters=2 * len(BODIES))
    unreadable = [letter for letter in await rows(desk) if not letter["is_readable"]]
    assert {(letter["tenant_id"], letter["message_id"]) for letter in unreadable} == {(NOBODY, None)}
    kept = [(base64.b64decode(one["body"]) if one["form"] == "BASE64" else one["body"].encode(), one["form"]) for one in unreadable]
    assert sorted(kept) == sorted((body[1:-1] if form == "ENVELOPE" else body, form) for body, form in BODIES.values())
    for letter in unreadable:
        shown = await operator.get(f"/{letter['id']}")
        assert shown.status_code == 200, shown.text
        assert "it is no message that can be read" in " ".join(shown.json()["flags"])


SENDABLE: Final[tuple[Any, ...]] = (
    *(NUL, "\N{PILE OF POO}", "x" * 5000, "", 0, -1, 2**62, True, 0.5, None, bytearray(b"\xff\x00")),
    *(datetime(2026, 11, 23, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC), [], [1, "a", bytearray(b"\xff")]),
    *({"deep": {"er": [None]}}, Decimal("1.5")),
)
VALUES: Final = (*SENDABLE, b"\xff\x00", [b"\xff"], float("nan"))
"""Others reach us as well, but no library of ours sends them."""
NAMES: Final = (
    *("x-letter", "x-attempt", "x-replay", "x-exception-type", "x-exception-message", "x-exception-stack", "x-fingerprint", "x-death"),
    *("x-tenant", "x-saga", "x-message-type", "x-service", "x-build", "x-origin-queue", "traceparent", "x-envelopes"),
)


async def test_a_header_of_any_kind_is_stored_wherever_it_stands(desk: Stage, operator: LetterDesk) -> None:
    died = [a_letter(more={name: value}) for value in SENDABLE for name in NAMES]
    await publish(desk, *died, a_letter())
    # What says nothing of its death is known by its message.
    for letter in await taken_in(desk, letters=len(died) + 1):
        assert (await operator.get(f"/{letter['id']}")).status_code == 200


def test_nothing_that_is_opened_ever_raises() -> None:
    for value in VALUES:
        for name in NAMES:
            for body, _ in [(body, form) for what, (body, form) in BODIES.items() if what != "huge"]:
                [letter] = open_letters(Arrived(QUEUE, body, {name: value}, None), now())
                assert letter.letter.attempts >= 0


async def test_a_letter_of_nobody_is_nobodys_whatever_its_body_says(desk: Stage) -> None:
    """Our consumer found no tenant in it, so it has none: its saying so alone must not bring it into one."""
    ask = reserve(TenantId(uuid4()))
    await publish(desk, dying(ask, more={"x-tenant": None}))
    [letter] = await taken_in(desk, letters=1)
    assert (letter["tenant_id"], letter["is_readable"]) == (NOBODY, False)


async def test_an_envelope_that_names_another_tenant_than_its_letters_cannot_be_sent_again(desk: Stage) -> None:
    other = uuid4()
    await publish(desk, dying(reserve(TenantId(uuid4())), more={"x-tenant": str(other)}))
    [letter] = await taken_in(desk, letters=1)
    assert (letter["tenant_id"], letter["is_readable"]) == (other, False)


async def test_a_letter_without_any_story_is_kept(desk: Stage) -> None:
    ask = reserve(TenantId(uuid4()))
    died = sent(b"[" + ask.model_dump_json().encode() + b"]")
    await publish(desk, died, died)
    [letter] = await taken_in(desk, letters=1)
    assert (letter["tenant_id"], letter["exception_type"], letter["service"]) == (ask.tenantid, "Unknown", "inventory")


async def test_what_the_database_refuses_as_it_is_is_stored_as_a_husk_and_its_neighbours_as_they_are(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    await stage.administrator.execute("ALTER TABLE ops.letter ADD CONSTRAINT spite CHECK (error <> 'spite' OR form = 'BASE64')")
    try:
        async with working(SERVICE, stage.settings, tmp_path):
            neighbours = [a_letter() for _ in range(20)]
            await publish(stage, *neighbours[:10], a_letter(error=ValueError("spite")), *neighbours[10:])
            found = await taken_in(stage, letters=21)
    finally:
        await stage.administrator.execute("ALTER TABLE ops.letter DROP CONSTRAINT spite")
    [husk] = [letter for letter in found if letter["form"] == "BASE64"]
    assert (husk["tenant_id"], husk["is_readable"]) == (NOBODY, False)
    assert json.loads(base64.b64decode(husk["body"]))[0]["type"] == "inventory.ReserveStock.v1"
    assert "spite" in husk["headers"]


async def test_what_cannot_be_stored_at_all_is_left_with_the_broker_and_harms_no_other(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forget_all(stage)
    monkeypatch.setattr("services.ops.taking_in.ingest._SET_ASIDE_S", 1.0)
    await stage.administrator.execute("ALTER TABLE ops.letter ADD CONSTRAINT spite CHECK (headers NOT LIKE '%spite%')")
    async with working(SERVICE, stage.settings, tmp_path):
        try:
            await publish(stage, a_letter(error=ValueError("spite")), a_letter(), a_letter())
            await taken_in(stage, letters=2)
        finally:
            await stage.administrator.execute("ALTER TABLE ops.letter DROP CONSTRAINT spite")
        # It is tried again by itself.
        assert len(await taken_in(stage, letters=3)) == 3


async def test_a_number_of_letters_that_no_frame_has_is_one_letter(desk: Stage) -> None:
    await publish(desk, sent(json.dumps(list(range(1001))).encode()))
    [letter] = await taken_in(desk, letters=1)
    assert letter["form"] == "TEXT"


def test_what_was_in_a_frame_is_kept_byte_for_byte() -> None:
    parts = [b'{"a" :  1.10, "b": "\\u00e9"}', b'{"id":"' + str(UUID(int=5)).encode() + b'", "a": 1, "a": 2}', b"  [1 ,2]", b"{}"]
    opened = open_letters(Arrived(QUEUE, b" [" + b",\n".join(parts) + b"] ", {}, "m"), now())
    assert [one.body.encode() for one in opened] == [part.strip() for part in parts]
    assert len({one.death.id for one in opened}) == len({one.letter.id for one in opened}) == 4
