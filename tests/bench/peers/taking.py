"""Orders on their way from who drives the benchmark to a peer's clients: numbers in a named pipe, taken by whoever is free.

The cheapest way there is for several processes to share work, so that what is measured is the peer. Standard library only: the peers'
own interpreters, which have none of our dependencies, read this as well.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.bench.workload import Work, Workload

_NUMBER: Final = struct.Struct("<q")
_AT_ONCE: Final = 512
"""A pipe takes 4 096 bytes as one: no client ever reads half a number."""
_PIPE: Final = "PEER_ORDERS"
_TENANTS: Final = "PEER_TENANTS"
_SKUS: Final = "PEER_SKUS"


class Counter:
    """Where orders are handed out."""

    def __init__(self, path: Path, workload: Workload) -> None:
        self.path, self.workload = path, workload
        os.mkfifo(path)
        # For reading as well: it can then be opened, and written to, before there is a client.
        self._descriptor = os.open(path, os.O_RDWR)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to take from here."""
        return {_PIPE: str(self.path), _TENANTS: str(self.workload.tenants), _SKUS: str(self.workload.skus)}

    def hand_out(self, first: int, many: int) -> None:
        """Blocks while thousands wait to be taken."""
        for start in range(first, first + many, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, first + many))
            os.write(self._descriptor, b"".join(map(_NUMBER.pack, numbers)))

    def close(self) -> None:
        os.close(self._descriptor)


class Hatch:
    """Where clients take orders. Any number of processes and threads may take from one counter."""

    def __init__(self, *, blocking: bool = True, environment: Mapping[str, str] = os.environ) -> None:
        self.descriptor = os.open(environment[_PIPE], os.O_RDONLY | (0 if blocking else os.O_NONBLOCK))

    def take(self) -> int:
        """The number of the next order; without blocking, BlockingIOError if there is none."""
        number: int = _NUMBER.unpack(os.read(self.descriptor, _NUMBER.size))[0]
        return number


def order(number: int) -> Work:
    """The order with this number, of the workload that is being run."""
    return Workload(int(os.environ[_TENANTS]), int(os.environ[_SKUS])).order(number)
