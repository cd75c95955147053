"""Dead letters: an envelope that was given up, with its story in the headers that contracts/headers.py lists.

The broker kills a connection over headers of 128 KiB, so whatever somebody else has a say in is cut, to bytes as they go over the wire.
"""

import hashlib
import traceback
from pathlib import Path
from typing import Final
from uuid import UUID

from contracts import headers
from contracts.messages import Envelope, StepFaulted
from infra.build import build
from infra.deliveries import Replay
from infra.frames import Unreadable

_MESSAGE_BYTES_MAX: Final = 1_000
_STACK_BYTES_MAX: Final = 8_000
_NAME_BYTES_MAX: Final = 200
"""Whatever a stranger's envelope says of itself is cut as well."""
_FAULT_CHARS_MAX: Final = 300
_OWN_CODE: Final = str(Path(__file__).resolve().parent.parent)

Headers = dict[str, str | int]


def headers_of(
    envelope: Envelope | Unreadable,
    error: Exception,
    queue: str,
    service: str,
    attempt: int,
    letter: UUID,
    replay: Replay | None = None,
) -> Headers:
    """What an operator needs to know: what failed, where, how often, for whom. `letter` names this death."""
    found: Headers = {
        headers.COUNT: 1,
        headers.ATTEMPT: attempt,
        headers.LETTER: str(letter),
        headers.REPLAY: str(replay or ""),
        headers.ORIGIN_QUEUE: queue,
        headers.SERVICE: service,
        headers.BUILD: _cut(build(), _NAME_BYTES_MAX),
        headers.EXCEPTION_TYPE: _cut(type(error).__name__, _NAME_BYTES_MAX),
        headers.EXCEPTION_MESSAGE: _cut(said_by(error), _MESSAGE_BYTES_MAX),
        headers.EXCEPTION_STACK: _cut("".join(traceback.format_exception(error)), _STACK_BYTES_MAX, keep_end=True),
        headers.FINGERPRINT: fingerprint(error),
        headers.MESSAGE_TYPE: _cut(envelope.type or "", _NAME_BYTES_MAX),
        headers.TENANT: str(envelope.tenantid or ""),
        headers.SAGA: str(envelope.sagaid or ""),
        headers.TRACEPARENT: _cut(envelope.traceparent or "", _NAME_BYTES_MAX),
    }
    return {name: value for name, value in found.items() if value != ""}


def fingerprint(error: Exception) -> str:
    """16 hexadecimal digits, the same for every failure of this kind at this place in our own code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_OWN_CODE)]
    places = [f"{Path(frame.filename).name}:{frame.name}" for frame in frames if ".venv" not in frame.filename]
    return hashlib.sha256("|".join([type(error).__name__, *places]).encode()).hexdigest()[:16]


def fault_of(error: Exception) -> StepFaulted:
    """What the saga is told."""
    told = f"{type(error).__name__}: {_storable(said_by(error)[:_FAULT_CHARS_MAX])}"
    return StepFaulted(error=told[:_FAULT_CHARS_MAX], fingerprint=fingerprint(error))


def said_by(error: Exception) -> str:
    """The error's text, also of one whose text is a bug of its own."""
    return "".join(traceback.format_exception_only(error)).strip().partition(": ")[2]


def _cut(text: str, bytes_max: int, *, keep_end: bool = False) -> str:
    # Cut first, which is cheap, then again: what cannot be stored grows when it is written out.
    written = _storable(text[-bytes_max:] if keep_end else text[:bytes_max]).encode()
    return (written[-bytes_max:] if keep_end else written[:bytes_max]).decode(errors="ignore")


def _storable(text: str) -> str:
    # A lone surrogate, quoted from a bad message, can be neither stored nor sent; a NUL cannot be stored.
    return text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")
