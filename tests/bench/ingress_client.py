"""An open loop over HTTP: requests leave when they are due, whatever has become of those before them."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from infra.dev.ports import LOOPBACK
from tests.bench.figures import Latency
from tests.bench.http_connection import Connection

_TICK_S: Final = 0.002


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


class OpenLoop:
    """Sends `requests` at a steady rate over at most `connections`; what is due while all are busy waits, and its wait counts."""

    def __init__(self, url: str, requests: Iterator[bytes], connections: int, answers: Answers | None = None) -> None:
        """`answers`: where they are to be added."""
        address = urlsplit(url)
        self._host, self._port = address.hostname or LOOPBACK, address.port or 80
        self._requests = requests
        self._connections_max = connections
        self._all: list[Connection] = []
        self._free: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._asked: dict[Connection, float] = {}
        """Those that wait for an answer, and since when it has been due."""
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

    def _answered_by(self, connection: Connection, status: int, _body: bytes) -> None:
        self._note(status, self._asked.pop(connection))
        self._free.append(connection)
        self._send()

    def _lost(self, connection: Connection, was_asked: bool) -> None:
        """The server closes what it has not heard of for a while: another takes its place. Status 0: a request was lost with it."""
        if was_asked:
            self._note(0, self._asked.pop(connection))
        elif connection in self._free:
            self._free.remove(connection)
        if not self._is_over:
            self._connecting = asyncio.ensure_future(self._connect(1))

    def _note(self, status: int, due: float) -> None:
        self._answered += 1
        self.answers.add(status, asyncio.get_running_loop().time() - due)

    def _send(self) -> None:
        while self._due and self._free:
            connection = self._free.popleft()
            self._asked[connection] = self._due.popleft()
            connection.send(next(self._requests), partial(self._answered_by, connection))

    async def _connect(self, many: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(many):
            _, connection = await loop.create_connection(lambda: Connection(self._lost), self._host, self._port)
            self._all.append(connection)
            self._free.append(connection)
