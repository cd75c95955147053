"""How a server goes away, and how it comes back: each outage as a beginning and an end."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.dev.ports import LOOPBACK
from infra.dev.postgres import Postgres
from infra.dev.rabbitmq import RabbitMQ, server_script
from infra.dev.servers import Servers
from infra.errors import Misconfigured

Act = Callable[[Servers], None]

_GONE_MAX_S: Final = 20.0
_CONTROL_MAX_S: Final = 60.0
_POLL_S: Final = 0.02
_MORE_THAN_THERE_IS: Final = "100000GB"


class NotOurs(Misconfigured):
    """Servers that the environment names cannot be stopped and started; unset OAAS_POSTGRES_URL and OAAS_RABBITMQ_URL."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def _rabbitmq(servers: Servers) -> RabbitMQ:
    if servers.rabbitmq is None:
        raise NotOurs
    return servers.rabbitmq


def _postgres(servers: Servers) -> Postgres:
    if servers.postgres is None:
        raise NotOurs
    return servers.postgres


def _stop_at_once(servers: Servers) -> None:
    """PostgreSQL's immediate shutdown: nothing is finished, nothing is flushed, it recovers at its next start."""
    postgres = _postgres(servers)
    pid = postgres.pid
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
    until = time.monotonic() + _GONE_MAX_S
    while postgres.pid is not None:
        if time.monotonic() > until:
            postgres.kill()
        time.sleep(_POLL_S)


def _signal_node(number: signal.Signals) -> Act:
    def act(servers: Servers) -> None:
        pid = _rabbitmq(servers).pid
        if pid is not None:
            os.kill(pid, number)

    return act


def _control(*words: str) -> Act:
    def act(servers: Servers) -> None:
        node = _rabbitmq(servers)
        script = server_script()
        assert script is not None, "the node runs"
        command = [str(script.with_name("rabbitmqctl")), "--quiet", "--node", "oaas@localhost", *words]
        done = subprocess.run(command, env=_beside(node.folder), capture_output=True, text=True, timeout=_CONTROL_MAX_S, check=False)
        if done.returncode:
            raise Misconfigured(f"rabbitmqctl {' '.join(words)} failed: {done.stdout}{done.stderr}")

    return act


def _beside(folder: Path) -> dict[str, str]:
    """The environment in which the tools find the private node: its cookie, its epmd, its name."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "ERL_FLAGS": "-start_epmd false",
        "ERL_EPMD_PORT": (folder / "epmd.port").read_text().strip(),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_INETRC": str(folder / "inetrc"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
    }


ACTS: Final[dict[str, tuple[Act, Act]]] = {
    "RabbitMQ stopped and started": (lambda servers: _rabbitmq(servers).stop(), lambda servers: _rabbitmq(servers).start()),
    "RabbitMQ killed and started": (lambda servers: _rabbitmq(servers).kill(), lambda servers: _rabbitmq(servers).start()),
    "RabbitMQ frozen": (_signal_node(signal.SIGSTOP), _signal_node(signal.SIGCONT)),
    "RabbitMQ's disk alarm": (_control("set_disk_free_limit", _MORE_THAN_THERE_IS), _control("set_disk_free_limit", "100MB")),
    "RabbitMQ's memory alarm": (
        _control("set_vm_memory_high_watermark", "absolute", "1MB"),
        _control("set_vm_memory_high_watermark", "absolute", "1GB"),
    ),
    "PostgreSQL stopped (immediate) and started": (_stop_at_once, lambda servers: _postgres(servers).start()),
    "PostgreSQL killed and started": (lambda servers: _postgres(servers).kill(), lambda servers: _postgres(servers).start()),
}
"""Every outage: what begins it and what ends it. Both return when that is so."""
