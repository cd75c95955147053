"""PostgreSQL and RabbitMQ of one home, started side by side; servers that the environment names are used as they are."""

import fcntl
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from infra.dev.postgres import Postgres
from infra.dev.rabbitmq import RabbitMQ
from infra.errors import Misconfigured

Say = Callable[[str], None]


class HomeInUse(Misconfigured):
    """Another process runs a platform in this home; stop it, or choose another home with OAAS_HOME."""

    def __init__(self, home: Path, pid: str) -> None:
        super().__init__(f"a platform already runs in {home} (process {pid}); stop it first, or choose another home with OAAS_HOME")
        self.home, self.pid = home, pid


class ManagementUrlMissing(Misconfigured):
    """OAAS_RABBITMQ_URL is set, OAAS_RABBITMQ_MANAGEMENT_URL is not: policies are applied through the management API."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True)
class Servers:
    """The servers' URLs, with passwords. An embedded server can be stopped, killed and started alone; its ports stay the same."""

    postgres_url: str
    rabbitmq_url: str
    rabbitmq_management_url: str
    postgres: Postgres | None
    rabbitmq: RabbitMQ | None
    _lock: TextIOWrapper

    def finish(self) -> None:
        """Wait until RabbitMQ answers too, after `start_servers(..., finish=False)`."""
        if self.rabbitmq is not None:
            self.rabbitmq.finish()

    def stop(self) -> None:
        """Stop what was started here, cleanly, then let the home go."""
        _stop(self._lock, self.postgres, self.rabbitmq)


def start_servers(home: Path, say: Say, environment: Mapping[str, str] = os.environ, *, finish: bool = True) -> Servers:
    """Start what the environment does not name and wait until it answers; raises HomeInUse and the servers' own errors.

    Without `finish` only PostgreSQL answers already: RabbitMQ takes longest, and the schemas can be migrated meanwhile.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    given_postgres, given_rabbitmq = environment.get("OAAS_POSTGRES_URL", ""), environment.get("OAAS_RABBITMQ_URL", "")
    if given_rabbitmq and not environment.get("OAAS_RABBITMQ_MANAGEMENT_URL"):
        raise ManagementUrlMissing
    lock = _lock(home)
    postgres = None if given_postgres else Postgres(home)
    rabbitmq = None if given_rabbitmq else RabbitMQ(home)
    try:
        _start(postgres, rabbitmq, say)
        if finish and rabbitmq is not None:
            rabbitmq.finish()
    except BaseException:
        _stop(lock, postgres, rabbitmq)
        raise
    return Servers(
        postgres_url=postgres.url if postgres else given_postgres,
        rabbitmq_url=rabbitmq.url if rabbitmq else given_rabbitmq,
        rabbitmq_management_url=rabbitmq.management_url if rabbitmq else environment["OAAS_RABBITMQ_MANAGEMENT_URL"],
        postgres=postgres,
        rabbitmq=rabbitmq,
        _lock=lock,
    )


def _start(postgres: Postgres | None, rabbitmq: RabbitMQ | None, say: Say) -> None:
    # RabbitMQ takes longest: it starts while PostgreSQL creates its data.
    if rabbitmq is not None:
        say("starting RabbitMQ (a private node)")
        rabbitmq.begin()
    if postgres is not None:
        say("starting PostgreSQL" if postgres.data.exists() else "creating PostgreSQL's data and starting it")
        postgres.start()


def _stop(lock: TextIOWrapper, *servers: Postgres | RabbitMQ | None) -> None:
    # Side by side: RabbitMQ takes seconds to end after it has put everything away.
    try:
        with ThreadPoolExecutor() as stoppers:
            for stopped in [stoppers.submit(server.stop) for server in servers if server is not None]:
                stopped.result()
    finally:
        lock.close()


def _lock(home: Path) -> TextIOWrapper:
    """The home's lock file, locked until it is closed or we die; it holds our pid."""
    file = (home / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise HomeInUse(home, pid) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
