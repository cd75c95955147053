"""The supervisor restarts what dies, leaves alone what was killed on purpose, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.dev.children import began
from infra.dev.processes import NotReady, Supervisor
from infra.dev.up import without_credentials

ROOT = Path(__file__).resolve().parents[2]
PATH = {"PATH": os.environ["PATH"]}
SERVE = "import os, pathlib, time; pathlib.Path(os.environ['OAAS_READY_FILE']).write_text('ready'); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SERVE}"
FAIL = "import sys; print('no database'); sys.exit(1)"

SUPERVISE = f"""
import sys, time
from pathlib import Path
from infra.dev.processes import Supervisor
supervisor = Supervisor(Path(sys.argv[1]))
supervisor.add("worker", [sys.executable, "-c", {SERVE!r}], {{}})
supervisor.wait_until_ready("worker")
print(supervisor.pid("worker"), flush=True)
time.sleep(60)
"""


def eventually(what: Callable[[], bool], told: str, patience_s: float = 10.0) -> None:
    until = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < until, told
        time.sleep(0.02)


def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.add("worker", [sys.executable, "-c", SERVE], PATH)
        supervisor.wait_until_ready("worker", 10)
        first = supervisor.pid("worker")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        eventually(lambda: supervisor.pid("worker") not in (None, first), "it was not started again")
        supervisor.wait_until_ready("worker", 10)
        assert supervisor.restarts("worker") == 1


def test_a_process_that_was_killed_on_purpose_stays_down_until_it_is_started(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.add("worker", [sys.executable, "-c", SERVE], PATH)
        supervisor.wait_until_ready("worker", 10)
        supervisor.kill("worker")
        time.sleep(1.0)
        assert supervisor.pid("worker") is None
        assert not supervisor.is_ready("worker")
        supervisor.start("worker")
        supervisor.wait_until_ready("worker", 10)


def test_a_process_that_is_never_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.add("worker", [sys.executable, "-c", FAIL], PATH)
        with pytest.raises(NotReady, match="no database"):
            supervisor.wait_until_ready("worker", 2)
        assert supervisor.restarts("worker") <= 3, "it is started ever more slowly"


def test_a_process_that_ignores_sigterm_is_killed_after_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.dev.processes._STOP", ((signal.SIGTERM, 0.5), (signal.SIGKILL, 5)))
    with Supervisor(tmp_path) as supervisor:
        supervisor.add("worker", [sys.executable, "-c", STUBBORN], PATH)
        supervisor.wait_until_ready("worker", 10)
        pid = supervisor.pid("worker")
    assert pid is not None
    assert began(pid) is None


def test_processes_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pid = int(supervisor.stdout.readline())
    assert began(pid) is not None
    supervisor.kill()
    supervisor.wait(5)
    with Supervisor(tmp_path) as successor:
        successor.add("worker", [sys.executable, "-c", SERVE], PATH)
        assert began(pid) is None


def test_services_get_a_database_url_without_user_and_password() -> None:
    assert without_credentials("postgresql://oaas_admin:secret@127.0.0.1:5555/oaas?a=b") == "postgresql://127.0.0.1:5555/oaas?a=b"
