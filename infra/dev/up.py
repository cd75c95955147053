"""The whole platform on one machine: servers, schemas, the API and a worker per service, until Ctrl-C.

Only `migrate` gets the administrator's database URL. The services get host and database without user or password, and
OAAS_ROLE_SECRET, from which each derives the passwords of its own narrow roles.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn
from urllib.parse import urlsplit, urlunsplit

from contracts.addresses import COORDINATOR, DESK, SHARDS
from infra.dev.logs import tail
from infra.dev.ports import LOOPBACK, is_free, kept_port
from infra.dev.processes import NotReady, Supervisor
from infra.dev.secret_files import kept_secret, write_private
from infra.dev.servers import Servers, start_servers
from infra.errors import Misconfigured
from infra.services import MODULES
from infra.settings import ENVIRONMENT, Settings
from infra.token import ensure_development_key

API_PORT: Final = 8000
"""Taken if it is free; any other free port otherwise."""
WORKERS: Final[Mapping[str, Sequence[str]]] = {service: ("infra.cli", "worker", service) for service in MODULES}
ACQUIRER: Final = "acquirer"
"""The process that stands in for a payment provider, unless OAAS_PAYMENT_URL names one."""
READY_MAX_S: Final = 60.0
MIGRATE_MAX_S: Final = 120.0
_POLL_S: Final = 0.1
_WATCH_EVERY_S: Final = 1.0
ROOT: Final = Path(__file__).resolve().parents[2]

Say = Callable[[str], None]


class MigrationFailed(Misconfigured):
    """`oaas migrate` failed; the message ends with its output."""


@dataclass(frozen=True)
class Platform:
    """A running platform. `environment` is what its services were started with: no administrator's password is in it."""

    home: Path
    servers: Servers
    supervisor: Supervisor
    api_url: str
    metrics_urls: Mapping[str, str]
    """Of the workers that count for all: of the sagas by state, of the dead letters by cause; the API's own are at `/metrics`."""
    environment: Mapping[str, str]

    def describe(self) -> dict[str, str]:
        """Where everything is, passwords included: for the person at the terminal."""
        return {
            "api": self.api_url,
            "docs": f"{self.api_url}/docs",
            **{f"{service} metrics": url for service, url in self.metrics_urls.items()},
            "rabbitmq": self.servers.rabbitmq_management_url,
            "postgres": self.servers.postgres_url,
            "logs": str(self.home / "logs"),
        }


def up(settings: Settings, *, as_json: bool = False) -> None:
    """Start everything, print where it is, run until Ctrl-C or SIGTERM, stop everything."""
    say: Say = (lambda _: None) if as_json else _print
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            running = stack.enter_context(platform(settings.home, say=say, api_port=settings.api_port))
            stack.callback(_ignore_signals)
            stack.callback(say, "stopping")
            _print(json.dumps(running.describe()) if as_json else _welcome(running))
            while True:
                time.sleep(_WATCH_EVERY_S)
                restart_dead_servers(running.servers, say)
    except KeyboardInterrupt:
        say("stopped; the data is kept")


@contextmanager
def platform(
    home: Path,
    overrides: Mapping[str, str] | None = None,
    *,
    say: Say = lambda _: None,
    api_port: int = API_PORT,
    workers: Mapping[str, Sequence[str]] = WORKERS,
    measured: Collection[str] = (COORDINATOR, DESK),
) -> Iterator[Platform]:
    """The platform, ready to use and stopped at the end. `overrides`: environment of the processes, such as OAAS_DEADLINE_FACTOR.

    `workers`: by name the words after `python -m`; those that are `measured` serve `/metrics`.
    """
    home = home.resolve()
    began = time.monotonic()
    with ExitStack() as stack:
        servers = start_servers(home, say, finish=False)
        stack.callback(servers.stop)
        port = api_port if is_free(api_port) else kept_port(home / "api.port")
        environment = {**os.environ, **_environment(home, servers, port), **(overrides or {})}
        acquirer = _acquirer(home, environment, port)
        is_spread = environment.get("OAAS_SHARDS", str(SHARDS)) != str(SHARDS)
        if is_spread:
            servers.finish()
        _migrate(home, {**environment, **_administrators(servers, is_spread=is_spread)}, say)
        supervisor = stack.enter_context(Supervisor(home))
        say(f"starting the API and the workers of {', '.join(workers)}")
        if acquirer:
            supervisor.add(ACQUIRER, acquirer, environment)
        ports = {name: kept_port(home / f"{name}.metrics.port") for name in measured}
        for name, words in workers.items():
            own = {"OAAS_METRICS_PORT": str(ports[name])} if name in ports else {}
            supervisor.add(name, [sys.executable, "-m", *words], {**environment, **own})
        supervisor.add("api", [sys.executable, "-m", "infra.cli", "api"], environment)
        metrics_urls = {name: f"http://{LOOPBACK}:{port}/metrics" for name, port in ports.items()}
        running = Platform(home, servers, supervisor, f"http://{LOOPBACK}:{port}", metrics_urls, environment)
        # They start while RabbitMQ still boots, and wait for it.
        servers.finish()
        for name in workers:
            supervisor.wait_until_ready(name, READY_MAX_S)
        wait_until_api_ready(running)
        write_private(
            home / ENVIRONMENT, "".join(f"{name}={environment[name]}\n" for name in sorted(environment) if name.startswith("OAAS_"))
        )
        stack.callback((home / ENVIRONMENT).unlink, missing_ok=True)
        say(f"everything runs, after {time.monotonic() - began:.1f} s")
        yield running


def wait_until_api_ready(running: Platform, timeout: float = READY_MAX_S) -> None:
    """Wait until the API says that broker and databases answer; raises NotReady after `timeout` seconds."""
    until = time.monotonic() + timeout
    while not _answers(running.api_url):
        if time.monotonic() > until:
            raise NotReady(f"the API was not ready within {timeout:.0f} s.\n{running.supervisor.log_tail('api')}")
        time.sleep(_POLL_S)


def restart_dead_servers(servers: Servers, say: Say) -> None:
    """Start each embedded server that is gone, on its data; one that cannot be started is told and tried again at the next look."""
    for name, server in (("PostgreSQL", servers.postgres), ("RabbitMQ", servers.rabbitmq)):
        if server is not None and server.pid is None:
            say(f"{name} has died; starting it again on its data")
            try:
                server.start()
            except Misconfigured as error:
                say(str(error))


def without_credentials(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _environment(home: Path, servers: Servers, port: int) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "OAAS_HOME": str(home),
        "OAAS_POSTGRES_URL": without_credentials(servers.postgres_url),
        "OAAS_POSTGRES_SOCKET": servers.postgres.socket_folder if servers.postgres else os.environ.get("OAAS_POSTGRES_SOCKET", ""),
        "OAAS_ROLE_SECRET": os.environ.get("OAAS_ROLE_SECRET") or kept_secret(home / "keys" / "role-secret"),
        "OAAS_RABBITMQ_URL": servers.rabbitmq_url,
        "OAAS_RABBITMQ_MANAGEMENT_URL": servers.rabbitmq_management_url,
        "OAAS_JWKS": os.environ.get("OAAS_JWKS") or str(ensure_development_key(home)),
        "OAAS_API_HOST": LOOPBACK,
        "OAAS_API_PORT": str(port),
    }


def _administrators(servers: Servers, *, is_spread: bool) -> dict[str, str]:
    """What only `migrate` is told. Our own RabbitMQ loads the definitions of the usual number of shards when it boots: nothing is left
    to do there then, and to wait for."""
    given = {"OAAS_POSTGRES_URL": servers.postgres_url}
    return given if servers.rabbitmq is None or is_spread else given | {"OAAS_RABBITMQ_MANAGEMENT_URL": ""}


def _acquirer(home: Path, environment: dict[str, str], api_port: int) -> list[str]:
    """The command that starts the development acquirer, which the environment then names; none if it names a provider already."""
    if environment.get("OAAS_PAYMENT_URL"):
        return []
    port = str(kept_port(home / "acquirer.port"))
    environment["OAAS_PAYMENT_URL"] = f"http://{LOOPBACK}:{port}"
    environment.setdefault("OAAS_PAYMENT_SECRET", kept_secret(home / "keys" / "payment-secret"))
    callbacks = f"http://{LOOPBACK}:{api_port}/v1/payments/callbacks"
    return [sys.executable, "-m", "infra.dev.acquirer", LOOPBACK, port, str(home / "acquirer.sqlite"), callbacks]


def _migrate(home: Path, environment: Mapping[str, str], say: Say) -> None:
    say("migrating the schemas")
    log = home / "logs" / "migrate.log"
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", "migrate"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=MIGRATE_MAX_S,
            check=False,
        )
    if done.returncode != 0:
        raise MigrationFailed(f"`oaas migrate` failed with exit code {done.returncode}.\n{tail(log, 40)}")


def _answers(api_url: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(api_url).netloc, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _welcome(running: Platform) -> str:
    lines = [f"  {name:<13} {where}" for name, where in running.describe().items()]
    return "\n".join(["", *lines, "", "Ctrl-C stops it. A token: .venv/bin/oaas token --help"])


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    # Stopping has bounds of its own; a second Ctrl-C would only leave work to the next start.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
