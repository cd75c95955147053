"""A private RabbitMQ node of the system's `rabbitmq-server` package, everything of it under `<home>/rabbitmq`.

Its own node name, ports (AMQP, management, distribution, epmd; all on 127.0.0.1), data, log, configuration, cookie and user. The
system's service, its configuration and the epmd on the standard port are never touched. Two children: an epmd of its own and the
node, both stopped by pid.
"""

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import time
from http import HTTPStatus
from pathlib import Path
from typing import Final

from infra.dev.children import Child, Escalation, spawn, stop_leftover
from infra.dev.logs import tail
from infra.dev.ports import LOOPBACK, is_free, kept_port
from infra.dev.secret_files import kept_secret, write_private
from infra.errors import Misconfigured
from infra.topology.definitions import with_user

USER: Final = "oaas"
START_MAX_S: Final = 90.0
HEARTBEAT_S: Final = 10
_NODE: Final = "oaas@localhost"
_EPMD_START_MAX_S: Final = 5.0
_POLL_S: Final = 0.05
_ANSWER_MAX_S: Final = 2.0
_STOP: Final[Escalation] = ((signal.SIGTERM, 30), (signal.SIGKILL, 5))
_PORTS: Final = ("amqp", "management", "distribution", "epmd")

# Erlang loads its code through many tiny hand-overs between threads. RabbitMQ lets idle threads sleep at once (`+sbwt none`): 12 s to
# start on two virtual cores. With a short spin it is 5 s, for 0.8 % of one core when idle instead of 0.4 %.
# Everything is flushed within a tenth of a second of SIGTERM; then the node sits idle for five, which nobody needs to wait for.
_ERLANG: Final = (
    "+S 2:2 +stbt u +sbwt very_short +sbwtdcpu none +sbwtdio very_short -kernel inet_dist_use_interface {127,0,0,1} -shutdown_time 2000"
)

# Without this, Erlang asks the name servers for this machine's name, and waits 5 s where there are none.
_RESOLVER: Final = '{{lookup, [file]}}.\n{{host, {{127,0,0,1}}, ["localhost", "{host}"]}}.\n'


class RabbitMQDidNotStart(Misconfigured):
    """RabbitMQ did not start; the message ends with its log."""


class RabbitMQIsMissing(Misconfigured):
    """`rabbitmq-server` is not installed: run `make setup`, or set OAAS_RABBITMQ_URL and OAAS_RABBITMQ_MANAGEMENT_URL."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class RabbitMQ:
    """One node of one home. `start` may be called again after `stop` or `kill`; the ports then stay the same."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "rabbitmq"
        self.log = home / "logs" / "rabbitmq.log"
        self.output = home / "logs" / "rabbitmq.out"
        self._ports: dict[str, int] = {}
        self._node: Child | None = None
        self._epmd: Child | None = None

    @property
    def url(self) -> str:
        """AMQP, with user and password; the heartbeat notices a dead peer within 20 s."""
        return f"amqp://{USER}:{self._password}@{LOOPBACK}:{self._ports['amqp']}/?heartbeat={HEARTBEAT_S}"

    @property
    def management_url(self) -> str:
        """The management API and page, with user and password."""
        return f"http://{USER}:{self._password}@{LOOPBACK}:{self._ports['management']}"

    @property
    def pid(self) -> int | None:
        """The node's process id while it runs."""
        return self._node.pid if self._node and self._node.is_alive() else None

    def begin(self) -> None:
        """Write the configuration and start epmd and the node, without waiting; raises RabbitMQIsMissing."""
        script, epmd = server_script(), _epmd()
        if script is None or epmd is None:
            raise RabbitMQIsMissing
        for name in ("node", "epmd"):
            stop_leftover(self.folder / f"{name}.pid", _STOP)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._ports = self._ports or {name: kept_port(self.folder / f"{name}.port") for name in _PORTS}
        self._configure()
        environment = self._environment()
        command = [str(epmd), "-port", str(self._ports["epmd"]), "-address", LOOPBACK]
        self._epmd = spawn(command, pid_file=self.folder / "epmd.pid", log=self.output, environment=environment)
        self._wait_for_epmd()
        self._node = spawn([str(script)], pid_file=self.folder / "node.pid", log=self.output, environment=environment)

    def finish(self) -> None:
        """Wait until AMQP and the management API answer; raises RabbitMQDidNotStart."""
        until = time.monotonic() + START_MAX_S
        while not (self._speaks_amqp() and self._knows_us()):
            if self.pid is None or time.monotonic() > until:
                raise RabbitMQDidNotStart(f"RabbitMQ did not start within {START_MAX_S:.0f} s.\n{tail(self.log)}\n{tail(self.output)}")
            time.sleep(_POLL_S)

    def start(self) -> None:
        self.begin()
        self.finish()

    def stop(self) -> None:
        """Stop it cleanly, epmd last; nothing happens if it does not run."""
        self._end(_STOP)

    def kill(self) -> None:
        """SIGKILL, for tests: as if the machine had failed; confirmed messages are there after the next start."""
        self._end(((signal.SIGKILL, 5),))

    def _end(self, escalation: Escalation) -> None:
        for child in (self._node, self._epmd):
            if child is not None:
                child.stop(escalation)
        self._node = self._epmd = None

    @property
    def _password(self) -> str:
        return kept_secret(self.folder / "password")

    def _configure(self) -> None:
        lines = {
            "listeners.tcp.1": f"{LOOPBACK}:{self._ports['amqp']}",
            "management.tcp.ip": LOOPBACK,
            "management.tcp.port": self._ports["management"],
            "load_definitions": self.folder / "definitions.json",
            "loopback_users.guest": "true",
            "heartbeat": HEARTBEAT_S,
            "disk_free_limit.absolute": "100MB",
            "vm_memory_high_watermark.absolute": "1GB",
            "raft.wal_max_size_bytes": 64 * 1024 * 1024,
            "log.file.level": "info",
            "log.console": "false",
        }
        # A node that loads definitions makes no default user: ours is in them.
        write_private(self.folder / "definitions.json", json.dumps(with_user(USER, self._password)))
        write_private(self.folder / "rabbitmq.conf", "".join(f"{name} = {value}\n" for name, value in lines.items()))
        write_private(self.folder / "enabled_plugins", "[rabbitmq_management].\n")
        write_private(self.folder / "inetrc", _RESOLVER.format(host=socket.gethostname().split(".")[0]))
        write_private(self.folder / "environment", "")

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),  # the Erlang cookie is made here
            "LC_ALL": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # the start script becomes the node instead of waiting for it: one pid
            "ERL_FLAGS": "-start_epmd false",  # else Erlang starts a daemon that nobody stops
            "ERL_EPMD_PORT": str(self._ports["epmd"]),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),  # else into the current directory
            "ERL_INETRC": str(folder / "inetrc"),
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_DIST_PORT": str(self._ports["distribution"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_MNESIA_DIR": str(folder / "data"),
            "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
            "RABBITMQ_LOG_BASE": str(self.log.parent),
            "RABBITMQ_LOGS": str(self.log),
            "RABBITMQ_UPGRADE_LOG": str(folder / "upgrade.log"),
        }

    def _wait_for_epmd(self) -> None:
        until = time.monotonic() + _EPMD_START_MAX_S
        while is_free(self._ports["epmd"]):
            if time.monotonic() > until:
                raise RabbitMQDidNotStart(f"epmd did not start within {_EPMD_START_MAX_S:.0f} s.\n{tail(self.output)}")
            time.sleep(_POLL_S)

    def _speaks_amqp(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self._ports["amqp"]), _ANSWER_MAX_S) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                # A method frame (type 1) is Connection.Start; anything else is a refusal.
                return connection.recv(1) == b"\x01"
        except OSError:
            return False

    def _knows_us(self) -> bool:
        credentials = base64.b64encode(f"{USER}:{self._password}".encode()).decode()
        connection = http.client.HTTPConnection(LOOPBACK, self._ports["management"], timeout=_ANSWER_MAX_S)
        try:
            connection.request("GET", "/api/whoami", headers={"Authorization": f"Basic {credentials}"})
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def server_script() -> Path | None:
    """The package's own start script, None if RabbitMQ is not installed.

    Not the one on the PATH of Debian: that one changes to the user `rabbitmq` and to the system's directories.
    """
    candidates = [
        *sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"), reverse=True),
        Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
        *(Path(prefix) / "opt/rabbitmq/sbin/rabbitmq-server" for prefix in ("/opt/homebrew", "/usr/local")),
    ]
    found = shutil.which("rabbitmq-server")
    if found is not None and not found.startswith("/usr/sbin"):
        candidates.append(Path(found))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _epmd() -> Path | None:
    on_path = shutil.which("epmd")
    if on_path is not None:
        return Path(on_path)
    erl = shutil.which("erl")
    beside = sorted(Path(erl).resolve().parent.parent.glob("**/erts-*/bin/epmd")) if erl else []
    return beside[-1] if beside else None
