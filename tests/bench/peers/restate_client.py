"""The clients of the Restate application: connections that each send an order to the ingress and wait until it has ended.

HTTP/1.1 by hand, so that clients cost next to nothing beside what is measured.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final, cast

import uvloop

from tests.bench.peers.taking import Hatch

_CONNECTIONS: Final = int(os.environ["PEER_CONNECTIONS"])
_INGRESS: Final = int(os.environ["PEER_INGRESS"])
_REQUEST: Final = b"POST /Orders/place HTTP/1.1\r\nHost: restate\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%b"


class Clients:
    """Gives orders to connections that have none, as long as there are both."""

    def __init__(self) -> None:
        self._hatch = Hatch(blocking=False)
        self._idle: list[Connection] = []
        self._is_looking = False

    def rest(self, connection: "Connection") -> None:
        """It has no order any more."""
        self._idle.append(connection)
        self.serve()

    def serve(self) -> None:
        """Hand on what has come; be called again when more comes, if there is somebody to give it to."""
        try:
            while self._idle:
                number = self._hatch.take()
                self._idle.pop().send(number)
        except BlockingIOError:
            pass
        if self._is_looking != bool(self._idle):
            self._is_looking = not self._is_looking
            loop = asyncio.get_running_loop()
            if self._is_looking:
                loop.add_reader(self._hatch.descriptor, self.serve)
            else:
                loop.remove_reader(self._hatch.descriptor)


class Connection(asyncio.Protocol):
    """One client, with one order at a time."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is none by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._clients.rest(self)

    def send(self, number: int) -> None:
        assert self._transport is not None
        body = str(number).encode()
        self._transport.write(_REQUEST % (len(body), body))

    def data_received(self, data: bytes) -> None:
        # The answer has no body: it ends with its header, and comes in one piece.
        if not (data.startswith(b"HTTP/1.1 20") and data.endswith(b"\r\n\r\n")):
            sys.exit(f"an answer that was not expected: {data!r}")
        self._clients.rest(self)

    def connection_lost(self, exc: Exception | None) -> None:
        sys.exit(f"a connection was lost: {exc}")


async def _connect(clients: Clients) -> None:
    for _ in range(_CONNECTIONS):
        await asyncio.get_running_loop().create_connection(lambda: Connection(clients), "127.0.0.1", _INGRESS)


def main() -> None:
    """Send until killed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_connect(Clients()))
        Path(os.environ["PEER_READY"]).touch()
        runner.get_loop().run_forever()


if __name__ == "__main__":
    main()
