"""One dead letter as one line of JSON, exactly as it was in the broker: body, headers and properties come back as they were.

    {"queue": "inventory.commands.0.dead", "properties": {...}, "headers": {...}, "body": "..."}

A body that is no UTF-8 is `body_base64`. JSON has fewer kinds of value than an AMQP header: the others are written as
`{"$": kind, "value": ...}`.
"""

import base64
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from pamqp import encode
from pamqp.commands import Basic

from contracts.addresses import dead_letter_queue, is_work_queue

_NOT_OURS: Final = ("user_id", "expiration", "cluster_id")
"""Properties that are kept in the file and not sent again: the broker takes a user's own name only, and a letter must never expire."""
_COUNT: Final = "x-delivery-count"
"""How often the dead-letter queue itself has handed the letter out: the broker's own word, which changes with each look."""
_TAG: Final = "$"
_SECONDS_MAX: Final = 0xFFFFFFFF
"""What is above is read as milliseconds (pamqp.decode.timestamp)."""


class NoLetter(ValueError):
    """The line is none that `drain` has written."""


class Exactly(Basic.Properties):
    """Properties that are sent as they were read. pamqp itself would halve the precision of floats, cut long names and sort the headers."""

    def encode_property(self, name: str, value: Any) -> bytes:
        """See pamqp."""
        if name == "headers":
            return _table(value)
        return _at(value) if isinstance(value, datetime) else super().encode_property(name, value)

    def validate(self) -> None:
        """Everything: it was in the broker already."""


@dataclass(frozen=True, slots=True)
class Drained:
    """A letter out of the dead-letter queue `queue`."""

    queue: str
    properties: Basic.Properties
    body: bytes

    def line(self) -> bytes:
        """The letter as JSON, with the end of the line."""
        found = {name: getattr(self.properties, name) for name in self.properties.__slots__}
        headers = found.pop("headers") or {}
        written: dict[str, Any] = {
            "queue": self.queue,
            "properties": {name: _plain(value) for name, value in found.items() if value not in (None, "")},
            "headers": {name: _plain(value) for name, value in headers.items() if name != _COUNT},
        }
        try:
            written["body"] = self.body.decode()
        except UnicodeDecodeError:
            written["body_base64"] = base64.b64encode(self.body).decode()
        return json.dumps(written, ensure_ascii=False).encode() + b"\n"

    def again(self) -> Basic.Properties:
        """The properties to publish it with. A letter without an id is given the same one each time, so that it is taken in once."""
        found = {name: getattr(self.properties, name) for name in self.properties.__slots__ if name not in _NOT_OURS}
        found["message_id"] = found["message_id"] or str(UUID(bytes=sha256(self.line()).digest()[:16], version=5))
        return Exactly(**found)


def origin_of(queue: str) -> str | None:
    """The work queue whose letters this dead-letter queue holds; None if it is none."""
    origin = queue.removesuffix(".dead")
    return origin if is_work_queue(origin) and dead_letter_queue(origin) == queue else None


def read(line: bytes) -> Drained:
    """The letter of this line; raises NoLetter saying what is wrong with it."""
    try:
        found = json.loads(line)
        queue, properties, headers = found["queue"], found["properties"], found["headers"]
        body = base64.b64decode(found["body_base64"], validate=True) if "body_base64" in found else found["body"].encode()
        given = {name: _valued(value) for name, value in properties.items()}
        letter = Drained(queue, Exactly(**given, headers={name: _valued(value) for name, value in headers.items()} or None), body)
        letter.properties.marshal()
        origin = origin_of(queue)
    except UnicodeDecodeError:
        raise NoLetter("it is no text") from None
    except json.JSONDecodeError as error:
        raise NoLetter(f"it is no JSON: {error}") from None
    except KeyError as error:
        raise NoLetter(f"it has no {error}") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, struct.error) as error:
        raise NoLetter(f"it is no drained letter: {error}") from None
    if origin is None:
        raise NoLetter(f"this release has no queue {queue!r}")
    return letter


def _plain(value: object) -> Any:
    """A header's value as JSON has it."""
    for kind, (made_of, written, _) in _KINDS.items():
        if isinstance(value, made_of):
            return {_TAG: kind, "value": written(value)}
    if isinstance(value, dict):
        inside = {name: _plain(one) for name, one in value.items()}
        return {_TAG: "table", "value": inside} if _TAG in inside else inside
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _valued(value: Any) -> Any:
    if isinstance(value, list):
        return [_valued(one) for one in value]
    if not isinstance(value, dict):
        return value
    if _TAG not in value or value[_TAG] == "table":
        inside = value["value"] if _TAG in value else value
        return {name: _valued(one) for name, one in inside.items()}
    return _KINDS[value[_TAG]][2](value["value"])


def _table(value: Mapping[str, Any]) -> bytes:
    return _sized(b"".join(encode.short_string(name) + _field(one) for name, one in value.items()))


def _field(value: Any) -> bytes:
    match value:
        case float():
            return b"d" + encode.double(value)
        case datetime():
            return b"T" + _at(value)
        case dict():
            return b"F" + _table(value)
        case list():
            return b"A" + _sized(b"".join(map(_field, value)))
        case bytes():
            # Text of another encoding than UTF-8.
            return b"S" + _sized(value)
        case _:
            return encode.encode_table_value(value)


def _at(value: datetime) -> bytes:
    seconds = value.timestamp()
    return struct.pack(">Q", int(seconds) if seconds.is_integer() and seconds <= _SECONDS_MAX else round(seconds * 1000))


def _sized(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _from_base64(written: str) -> bytes:
    return base64.b64decode(written, validate=True)


_KINDS: Final[Mapping[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]]] = {
    "bytes": (bytearray, lambda value: base64.b64encode(value).decode(), lambda written: bytearray(_from_base64(written))),
    "text": (bytes, lambda value: base64.b64encode(value).decode(), _from_base64),
    "time": (datetime, lambda value: value.astimezone(UTC).isoformat(), datetime.fromisoformat),
    "decimal": (Decimal, str, Decimal),
    "float": (float, float.hex, float.fromhex),
}
