"""What the broker hands to the edge: frames with a few headers, opened into envelopes of which each knows how often it was tried.

Headers belong to the AMQP message, so only a frame of one envelope can say anything of it. What a stranger writes there is not trusted:
a header that makes no sense is ignored, and logged.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from contracts import headers
from contracts.messages import Envelope
from infra.frames import Unreadable, decode, text_at

_log: Final = logging.getLogger(__name__)
_TRIES_MAX: Final = 1_000_000
E = TypeVar("E", bound=Envelope | Unreadable, covariant=True)


class Acknowledgeable(Protocol):
    """A message of the broker, as much of it as the edge needs."""

    async def ack(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame as it came: `redelivered` says that somebody had it before and did not finish."""

    message: Acknowledgeable
    body: bytes
    redelivered: bool
    id: str
    """The AMQP message id, fresh for each publish."""
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replay:
    """The operators' desk sends a letter again, and waits to hear what comes of it."""

    replay_id: UUID
    letter_id: UUID

    def __str__(self) -> str:
        return f"{self.replay_id}/{self.letter_id}"


@dataclass(frozen=True, slots=True)
class Arrival(Generic[E]):
    """An envelope, or what came in its place, with what its frame says of it."""

    envelope: E
    tries: int = 0
    """How often it was tried before and failed in passing."""
    replay: Replay | None = None
    frame: bytes | None = None
    position: int = 0

    @property
    def text(self) -> str:
        """Its JSON as it came, with whatever this release does not know of it."""
        if isinstance(self.envelope, Unreadable):
            return self.envelope.body
        return self.envelope.model_dump_json(exclude_none=True) if self.frame is None else text_at(self.frame, self.position)


def arrivals(delivery: Delivery) -> list[Arrival[Envelope | Unreadable]]:
    """Every envelope of the frame, in order, and an Unreadable for each that is none."""
    items = list(decode(delivery.body))
    tries, replay = _told_by(delivery.headers, len(items)) if delivery.headers else (0, None)
    return [Arrival(item, tries, replay, delivery.body, position) for position, item in enumerate(items)]


def _told_by(told: Mapping[str, Any], count: int) -> tuple[int, Replay | None]:
    attempt, replay = told.get(headers.ATTEMPT), told.get(headers.REPLAY)
    found = _tries(attempt), _replay(replay)
    for name, value, read in zip((headers.ATTEMPT, headers.REPLAY), (attempt, replay), found, strict=True):
        if value is not None and (read is None or count != 1):
            _log.warning("a header that makes no sense is ignored", extra={"error": f"{name}: {value!r}"[:200], "count": count})
    return (found[0] or 0, found[1]) if count == 1 else (0, None)


def _tries(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _TRIES_MAX else None


def _replay(value: object) -> Replay | None:
    parts: Sequence[str] = value.split("/") if isinstance(value, str) else ()
    try:
        replay_id, letter_id = map(UUID, parts)
    except ValueError:
        return None
    return Replay(replay_id, letter_id)
