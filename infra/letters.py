"""Dead letters: an envelope that was given up, with its story in the headers.

The broker kills a connection over headers of 128 KiB, so message and stack are cut.
"""

import hashlib
import traceback
from pathlib import Path
from typing import Final

from contracts.messages import Envelope, StepFaulted
from infra.frames import Unreadable

_MESSAGE_CHARS_MAX: Final = 1_000
_STACK_CHARS_MAX: Final = 8_000
_NAME_CHARS_MAX: Final = 200
"""Whatever a stranger's envelope says of itself is cut as well."""
_OWN_CODE: Final = str(Path(__file__).resolve().parent.parent)


def headers_of(envelope: Envelope | Unreadable, error: Exception, queue: str, service: str, attempt: int) -> dict[str, str | int]:
    """What an operator needs to know: what failed, where, how often, for whom."""
    found: dict[str, str | int] = {
        "x-attempt": attempt,
        "x-exception-type": type(error).__name__,
        "x-exception-message": str(error)[:_MESSAGE_CHARS_MAX],
        "x-exception-stack": "".join(traceback.format_exception(error))[-_STACK_CHARS_MAX:],
        "x-fingerprint": fingerprint(error),
        "x-service": service,
        "x-origin-queue": queue,
        "x-message-type": (envelope.type or "")[:_NAME_CHARS_MAX],
        "x-tenant": str(envelope.tenantid or ""),
        "x-saga": str(envelope.sagaid or ""),
        "traceparent": (envelope.traceparent or "")[:_NAME_CHARS_MAX],
    }
    return {name: _encodable(value) if isinstance(value, str) else value for name, value in found.items() if value != ""}


def fingerprint(error: Exception) -> str:
    """16 hexadecimal digits, the same for every failure of this kind at this place in our own code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_OWN_CODE)]
    places = [f"{Path(frame.filename).name}:{frame.name}" for frame in frames if ".venv" not in frame.filename]
    return hashlib.sha256("|".join([type(error).__name__, *places]).encode()).hexdigest()[:16]


def fault_of(error: Exception) -> StepFaulted:
    """What the saga is told."""
    return StepFaulted(error=f"{type(error).__name__}: {_encodable(str(error))}"[:300], fingerprint=fingerprint(error))


def _encodable(text: str) -> str:
    # A lone surrogate, quoted from a bad message, could be neither stored nor sent.
    return text.encode(errors="backslashreplace").decode()
