"""Opens what lies in a dead-letter queue: one letter for each envelope in the message, with the story in its headers.

Whoever publishes there is a stranger: nothing here raises, and whatever was sent becomes a letter that PostgreSQL can store. What is no
text goes in base64; a header of the wrong kind counts as none, and stays in `headers` as it was.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from pydantic_core import from_json, to_json

from contracts.values import SagaId, TenantId
from infra.telemetry import trace_id_of
from services.ops.desk.model import NOBODY, Death, Letter, State, death_id, letter_id
from services.ops.taking_in.epitaph import Story, cut, story_of

ENVELOPES_MAX: Final = 1_000
"""A message that claims to hold more is kept as one letter: no service sends such frames."""
_NAME_CHARACTERS_MAX: Final = 200
_DECODER: Final = json.JSONDecoder()
_BETWEEN: Final = re.compile(r"[ \t\r\n,]*")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message of a dead-letter queue as the broker gave it; `queue` is the work queue on which it died."""

    queue: str
    body: bytes
    headers: Mapping[str, Any]
    message_id: str | None
    """Fresh for each publish, and kept by native dead lettering."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One letter as it is if nobody has heard of it before, and the death that it tells of."""

    letter: Letter
    form: str
    body: str
    death: Death
    replay: tuple[UUID, UUID] | None = None
    """The replay and the letter that its header names, if it has no id to be known by: to be believed only of a letter that there is."""


@dataclass(frozen=True, slots=True)
class _Envelope:
    """As much of an envelope as can be told; all of it is None for what is none."""

    id: UUID | None = None
    tenant_id: TenantId | None = None
    saga_id: SagaId | None = None
    type: str | None = None
    subject: str | None = None
    traceparent: str | None = None
    time: datetime | None = None


def open_letters(arrived: Arrived, now: datetime) -> list[Opened]:
    """Every letter in the message, at least one."""
    story = story_of(arrived.queue, arrived.headers, now)
    parts = split(arrived.body)
    if parts is None:
        return [_opened(arrived, story, _as_text(arrived.body), _Envelope(), None, now)]
    return [
        # Whatever is in a frame has this form: if it is sent again, then in a frame.
        _opened(arrived, story, ("ENVELOPE", text), _read(item), number if len(parts) > 1 else None, now)
        for number, (text, item) in enumerate(parts)
    ]


def husk(arrived: Arrived, now: datetime) -> Opened:
    """The message with nothing read from it: for one that could not be stored as what it seems to be."""
    bare = Arrived(arrived.queue, arrived.body, {"x-unread": repr(arrived.headers)}, arrived.message_id)
    body = "BASE64", base64.b64encode(arrived.body).decode()
    return _opened(bare, story_of(bare.queue, bare.headers, now), body, _Envelope(), None, now)


def split(body: bytes) -> list[tuple[str, Any]] | None:
    """The JSON text of each envelope in the frame, byte for byte as it came, and what it says; None if the body is no frame."""
    try:
        text, items = body.decode(), from_json(body)
    except ValueError:
        return None
    if not isinstance(items, list) or not 0 < len(items) <= ENVELOPES_MAX:
        return None
    return list(zip(_slices(text, items), items, strict=True))


def _slices(text: str, items: Sequence[Any]) -> list[str]:
    inside = text.strip()[1:-1]
    if len(items) == 1:
        return [inside.strip()]
    found: list[str] = []
    position = 0
    try:
        for _ in items:
            between = _BETWEEN.match(inside, position)
            start = between.end() if between else position
            position = _DECODER.raw_decode(inside, start)[1]
            found.append(inside[start:position])
    except (ValueError, RecursionError):
        # Two parsers need not agree on every oddity, such as a number of 5 000 digits.
        return [to_json(item, inf_nan_mode="constants").decode() for item in items]
    return found


def _opened(arrived: Arrived, story: Story, body: tuple[str, str], envelope: _Envelope, number: int | None, now: datetime) -> Opened:
    tenant_id = story.tenant_id or (None if story.is_parked else envelope.tenant_id) or NOBODY
    digest = hashlib.sha256(body[1].encode()).hexdigest()
    # Anybody can write the header: a letter's id is never made of it, and a replay of another letter is none of this one.
    id = letter_id(tenant_id, arrived.queue, envelope.id or digest)
    is_own = story.replay is not None and story.replay[1] == id
    death = Death(
        id=_death_id(arrived, story, envelope, digest, number),
        letter_id=id,
        at=story.died_at,
        attempts=story.attempts,
        fingerprint=story.fingerprint,
        exception_type=story.exception_type,
        error=story.error,
        stack=story.stack,
        build=story.build,
        headers=story.headers,
        is_native=story.is_native,
        replay_id=story.replay[0] if story.replay and is_own else None,
    )
    letter = Letter(
        tenant_id=tenant_id,
        id=id,
        queue=arrived.queue,
        service=story.service,
        type=cut(envelope.type or story.type, _NAME_CHARACTERS_MAX),
        message_id=envelope.id,
        saga_id=envelope.saga_id or story.saga_id,
        subject=cut(envelope.subject or "", _NAME_CHARACTERS_MAX),
        trace_id=trace_id_of(envelope.traceparent or story.traceparent),
        state=State.DEAD,
        fingerprint=story.fingerprint,
        exception_type=story.exception_type,
        error=story.error,
        build=story.build,
        attempts=story.attempts,
        deaths=1,
        replays_in_vain=0,
        is_native=story.is_native,
        # An envelope that names another tenant than its letter's must never be sent again: it would arrive there.
        is_readable=envelope.id is not None and envelope.type is not None and envelope.tenant_id == tenant_id,
        sent_at=envelope.time,
        first_died_at=story.died_at,
        died_at=story.died_at,
        changed_at=now,
        revision=0,
        replay_id=death.replay_id,
    )
    return Opened(letter, *body, death, story.replay if envelope.id is None and not is_own else None)


def _death_id(arrived: Arrived, story: Story, envelope: _Envelope, digest: str, number: int | None) -> UUID:
    if story.death_id is not None:
        return story.death_id if number is None else death_id(story.death_id, number)
    # The broker dead-letters at least once: the same message, with the same id and count, is the same death.
    publish = arrived.message_id or hashlib.sha256(arrived.body + story.headers.encode()).hexdigest()
    return death_id(arrived.queue, publish, envelope.id or digest, number, story.times_dead)


def _as_text(body: bytes) -> tuple[str, str]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return ("BASE64", base64.b64encode(body).decode()) if "\x00" in text else ("TEXT", text)


def _read(item: Any) -> _Envelope:
    if not isinstance(item, dict):
        return _Envelope()
    tenant, saga = _uuid(item.get("tenantid")), _uuid(item.get("sagaid"))
    return _Envelope(
        id=_uuid(item.get("id")),
        tenant_id=TenantId(tenant) if tenant else None,
        saga_id=SagaId(saga) if saga else None,
        type=_text(item.get("type")),
        subject=_text(item.get("subject")),
        traceparent=_text(item.get("traceparent")),
        time=_time(item.get("time")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
