"""Free TCP ports on the loopback address."""

import random
import socket
from pathlib import Path
from typing import Final

from infra.errors import Misconfigured

LOOPBACK: Final = "127.0.0.1"

# Below the ports that systems hand to outgoing connections (Linux 32768, macOS 49152): one of those could take a port
# between our looking and the server's listening.
_CANDIDATES: Final = range(20_000, 32_000)
_TRIES_MAX: Final = 200


class NoFreePort(Misconfigured):
    """No free port was found between 20000 and 32000 on 127.0.0.1."""


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 at this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """The preferred port if it is free, else another free one."""
    if preferred is not None and is_free(preferred):
        return preferred
    # Spread, so that platforms started at the same moment look at different ports, also by processes that were seeded alike.
    for port in random.SystemRandom().sample(_CANDIDATES, _TRIES_MAX):
        if is_free(port):
            return port
    raise NoFreePort


def kept_port(file: Path) -> int:
    """The port kept in `file` from an earlier run if it is still free, else a new one, which the file then keeps."""
    kept = int(file.read_text()) if file.exists() and file.read_text().strip().isdigit() else None
    port = free_port(kept)
    if port != kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{port}\n")
    return port
