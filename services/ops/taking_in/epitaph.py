"""The story of a death as the headers of its letter tell it: written by our own consumer, by the broker, or by nobody."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from contracts import headers as names
from contracts.values import SagaId, TenantId

_REASONS: Final = {
    "delivery_limit": ("DeliveryLimit", "the broker gave it up: it was delivered again and again, and nobody finished it"),
    "rejected": ("Rejected", "somebody rejected it without a word"),
    "expired": ("Expired", "it waited in its queue longer than it may"),
    "maxlen": ("QueueFull", "its queue was full"),
}
"""Why the broker itself dead-letters."""
_TYPE_CHARACTERS_MAX: Final = 200
_ERROR_CHARACTERS_MAX: Final = 1_000
_STACK_CHARACTERS_MAX: Final = 8_000
_WORD_CHARACTERS_MAX: Final = 64
_DEPTH_MAX: Final = 20
_COUNT_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Story:
    """What the headers say. `is_parked`: our own consumer wrote them; `is_native`: the broker gave the message up."""

    is_parked: bool
    is_native: bool
    death_id: UUID | None
    tenant_id: TenantId | None
    saga_id: SagaId | None
    replay: tuple[UUID, UUID] | None
    """The replay that it died of, and the letter that was replayed."""
    service: str
    type: str
    traceparent: str | None
    exception_type: str
    error: str
    stack: str
    fingerprint: str
    build: str
    attempts: int
    times_dead: int
    """How often the broker has dead-lettered this very message."""
    died_at: datetime
    headers: str
    """All of them, as JSON."""


def story_of(queue: str, headers: Mapping[str, Any], now: datetime) -> Story:
    """The story of a message that died on this queue and is taken in `now`."""
    is_parked = names.LETTER in headers or names.EXCEPTION_TYPE in headers
    entry = None if is_parked else _own_entry(queue, headers.get("x-death"))
    tenant, saga = _uuid(headers.get(names.TENANT)), _uuid(headers.get(names.SAGA))
    kind, error, fingerprint = _natively(queue, entry) if entry is not None else _told(queue, headers)
    return Story(
        is_parked=is_parked,
        is_native=entry is not None,
        death_id=_uuid(headers.get(names.LETTER)),
        tenant_id=TenantId(tenant) if tenant and is_parked else None,
        saga_id=SagaId(saga) if saga else None,
        replay=_replay(headers.get(names.REPLAY)),
        service=_text(headers, names.SERVICE, _WORD_CHARACTERS_MAX) or queue.split(".", 1)[0],
        type=_text(headers, names.MESSAGE_TYPE, _TYPE_CHARACTERS_MAX),
        traceparent=_text(headers, names.TRACEPARENT, _TYPE_CHARACTERS_MAX) or None,
        exception_type=kind,
        error=error,
        stack=_text(headers, names.EXCEPTION_STACK, _STACK_CHARACTERS_MAX),
        fingerprint=fingerprint,
        build=_text(headers, names.BUILD, _WORD_CHARACTERS_MAX),
        attempts=_count(headers.get(names.ATTEMPT)),
        times_dead=_count(entry.get("count")) if entry else 0,
        died_at=_died_at(entry, now),
        headers=json.dumps(plain(headers), sort_keys=True),
    )


def cut(text: str, characters_max: int) -> str:
    """The text as a column takes it: without NUL and half surrogate pairs, which are written out, and not longer than that."""
    return text[:characters_max].encode(errors="backslashreplace").decode().replace("\x00", "\\x00")[:characters_max]


def plain(value: Any, depth: int = 0) -> Any:
    """Whatever an AMQP header holds as JSON has it, written out where JSON has no such thing."""
    if depth > _DEPTH_MAX:
        return "..."
    if isinstance(value, Mapping):
        return {str(name): plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, depth + 1) for inner in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _own_entry(queue: str, deaths: object) -> Mapping[str, Any] | None:
    """The broker's own word on how it died on this queue; it also has one for each rung of the retry ladder that the message was on."""
    entries = [entry for entry in deaths if isinstance(entry, Mapping)] if isinstance(deaths, list) else []
    return next((entry for entry in entries if entry.get("queue") == queue), None)


def _natively(queue: str, entry: Mapping[str, Any]) -> tuple[str, str, str]:
    reason = cut(str(entry.get("reason")), _WORD_CHARACTERS_MAX)
    kind, error = _REASONS.get(reason, (reason, "the broker gave it up"))
    return kind, error, _digest("native", reason, queue)


def _told(queue: str, headers: Mapping[str, Any]) -> tuple[str, str, str]:
    kind = _text(headers, names.EXCEPTION_TYPE, _TYPE_CHARACTERS_MAX) or "Unknown"
    error = _text(headers, names.EXCEPTION_MESSAGE, _ERROR_CHARACTERS_MAX)
    return kind, error, _text(headers, names.FINGERPRINT, _WORD_CHARACTERS_MAX) or _digest("untold", kind, queue)


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _text(headers: Mapping[str, Any], name: str, characters_max: int) -> str:
    value = headers.get(name)
    return cut(value, characters_max) if isinstance(value, str) else ""


def _count(value: object) -> int:
    return min(max(value, 0), _COUNT_MAX) if isinstance(value, int) else 0


def _replay(value: object) -> tuple[UUID, UUID] | None:
    replay_id, _, letter = value.partition("/") if isinstance(value, str) else ("", "", "")
    found = _uuid(replay_id), _uuid(letter)
    return (found[0], found[1]) if found[0] and found[1] else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _died_at(entry: Mapping[str, Any] | None, now: datetime) -> datetime:
    """When the broker says so, if that can be; else when the letter came here, which is moments later while the desk runs."""
    at = entry.get("time") if entry else None
    if isinstance(at, datetime) and at.tzinfo is not None and now - timedelta(days=365) < at < now:
        return at.astimezone(UTC)
    return now
