"""An open loop over HTTP: requests leave when they are due, whatever has become of those before them.

As lean as Python can be, since it runs on the cores of what it measures: a protocol that writes whole requests and looks for statuses.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

from infra.dev.ports import LOOPBACK
from tests.bench.figures import Latency

_TICK_S: Final = 0.002
_END: Final = b"\r\n\r\n"


@dataclass
class Answers:
    """What came back: how many of each status, and the seconds that each answer took since its request was due."""

    statuses: Counter[int] = field(default_factory=Counter)
    took_s: dict[int, list[float]] = field(default_factory=dict)

    def add(self, status: int, took_s: float) -> None:
        self.statuses[status] += 1
        self.took_s.setdefault(status, []).append(took_s)

    def latency(self, status: int) -> Latency:
        return Latency.of(self.took_s.get(status, []))


class _Connection(asyncio.Protocol):
    """One request at a time; what comes back is read no further than its status and its length."""

    def __init__(self, loop: "OpenLoop") -> None:
        self._loop = loop
        self._due: float | None = None
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses

    def send(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(_END)
        if not found or len(body) < _length(head):
            return
        assert self._due is not None
        due, self._due, self._buffer = self._due, None, b""
        self._loop.answered(self, int(head[9:12]), due)

    def connection_lost(self, reason: Exception | None) -> None:  # noqa: ARG002 - the protocol's shape
        self._loop.lost(self, self._due)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class OpenLoop:
    """Sends `requests` at a steady rate over at most `connections`; what is due while all are busy waits, and its wait counts."""

    def __init__(self, url: str, requests: Iterator[bytes], connections: int, answers: Answers | None = None) -> None:
        """`answers`: where they are to be added."""
        address = urlsplit(url)
        self._host, self._port = address.hostname or LOOPBACK, address.port or 80
        self._requests = requests
        self._connections_max = connections
        self._all: list[_Connection] = []
        self._free: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self.answers = Answers() if answers is None else answers
        self._answered = 0
        self._is_over = False

    async def run(self, per_second: float, seconds: float) -> Answers:
        """The answers to all requests that were due within these seconds, once all have come."""
        await self._connect(self._connections_max)
        clock = asyncio.get_running_loop().time
        began, last = clock(), int(per_second * seconds)
        planned = 0
        while planned < last:
            while planned < last and planned < (clock() - began) * per_second:
                self._due.append(began + planned / per_second)
                planned += 1
            self._send()
            await asyncio.sleep(_TICK_S)
        while self._answered < last:  # noqa: ASYNC110 - an event would cost each answer a look
            await asyncio.sleep(_TICK_S)
        self._is_over = True
        for connection in self._all:
            connection.close()
        return self.answers

    def answered(self, connection: _Connection, status: int, due: float) -> None:
        self._note(status, due)
        self._free.append(connection)
        self._send()

    def lost(self, connection: _Connection, due: float | None) -> None:
        """The server closes what it has not heard of for a while: another takes its place. Status 0: a request was lost with it."""
        if due is not None:
            self._note(0, due)
        elif connection in self._free:
            self._free.remove(connection)
        if not self._is_over:
            self._connecting = asyncio.ensure_future(self._connect(1))

    def _note(self, status: int, due: float) -> None:
        self._answered += 1
        self.answers.add(status, asyncio.get_running_loop().time() - due)

    def _send(self) -> None:
        while self._due and self._free:
            self._free.popleft().send(next(self._requests), self._due.popleft())

    async def _connect(self, many: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(many):
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
            self._all.append(connection)
            self._free.append(connection)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
