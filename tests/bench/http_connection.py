"""A client's HTTP connection, as lean as Python can be, since it runs on the cores of what it measures."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "

Answered = Callable[[int, bytes], None]


class Connection(asyncio.Protocol):
    """One request at a time. `lost` is called when it ends, whoever ends it, with whether an answer was still to come."""

    def __init__(self, lost: Callable[["Connection", bool], None]) -> None:
        self._lost = lost
        self._answered: Answered | None = None
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses

    def send(self, request: bytes, answered: Answered) -> None:
        """Send it; `answered` is called with the status and the body."""
        assert self._transport is not None
        self._answered = answered
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(_END)
        if not found or self._answered is None or len(body) < _length(head):
            return
        self._buffer = b""
        answered, self._answered = self._answered, None
        answered(int(head[9:12]), body)

    def connection_lost(self, reason: Exception | None) -> None:  # noqa: ARG002 - the protocol's shape
        self._lost(self, self._answered is not None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _length(head: bytes) -> int:
    return int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0] or 0)
