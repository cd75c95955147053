"""Cursors of lists that are sorted by time and id, newest first. Opaque to clients; they carry no tenant and grant nothing."""

import base64
import struct
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from infra.http.problems import Problem

_FORMAT: Final = struct.Struct(">q16s")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def encode_cursor(created_at: datetime, id: UUID) -> str:
    """The position after the row of this time and id, as 32 URL-safe characters."""
    microseconds = (created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_FORMAT.pack(microseconds, id.bytes)).decode("ascii")


def decode_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Time and id that `encode_cursor` was given; raises Problem(400) for anything it did not make."""
    try:
        packed = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        microseconds, identifier = _FORMAT.unpack(packed)
        position = _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=identifier)
        # One spelling only: Base64 also reads characters that were never written.
        if encode_cursor(*position) == cursor:
            return position
    except (ValueError, struct.error, OverflowError):
        pass
    raise Problem(400, "Unknown cursor", "The cursor was not given out by this list: ask without one to begin at its start")
