"""Child processes of a development platform: started so that they cannot outlive us, known by pid, stopped by pid.

A child is recorded in a pid file with the moment it began, so that a later run recognises it even if pids were reused, and never
takes a stranger for it. On Linux the kernel signals a child when we die, whatever kills us; elsewhere the next start stops it.
"""

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.errors import Misconfigured

POLL_S: Final = 0.02

# The kernel sends the death signal when the *thread* that forked ends, not the process: all children are forked by one thread that
# lives as long as we do, whoever asks for them.
_FORKER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")

Escalation = Sequence[tuple[signal.Signals, float]]
"""Signals to stop a process with, each with the seconds it is given before the next."""


class DidNotStop(Misconfigured):
    """A process is still there after every signal of its escalation."""


@dataclass(frozen=True)
class RunAs:
    """Another user to run a child as, with the capabilities it keeps; only root can."""

    user: str
    group: str
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Child:
    """A process that we started, leader of its own session, so that Ctrl-C reaches it only through us."""

    process: "subprocess.Popen[bytes]"
    pid_file: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, escalation: Escalation) -> None:
        """Stop it and wait until it has ended; raises DidNotStop."""
        for number, patience_s in escalation:
            if not self.is_alive():
                break
            self.process.send_signal(number)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        if self.is_alive():
            raise DidNotStop(f"process {self.pid} ({self.pid_file.stem}) does not stop")
        self.pid_file.unlink(missing_ok=True)


def spawn(
    command: Sequence[str],
    *,
    pid_file: Path,
    log: Path,
    environment: Mapping[str, str],
    death_signal: signal.Signals = signal.SIGTERM,
    run_as: RunAs | None = None,
) -> Child:
    """Start a command without standard input, its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    arguments = [*_guard(death_signal, run_as), *command]
    with log.open("ab") as output:
        process = _FORKER.submit(_fork, arguments, dict(environment), output.fileno()).result()
    pid_file.write_text(f"{process.pid} {began(process.pid) or ''}\n")
    return Child(process, pid_file)


def stop_leftover(pid_file: Path, escalation: Escalation) -> bool:
    """Stop the process that an earlier run recorded, if it still is that process; says whether there was one."""
    recorded = _recorded(pid_file)
    if recorded is None:
        return False
    pid, beginning = recorded
    found = began(pid) == beginning
    for number, patience_s in escalation:
        if began(pid) != beginning:
            break
        _signal(pid, number)
        _wait_until_gone(pid, beginning, patience_s)
    if began(pid) == beginning:
        raise DidNotStop(f"process {pid} ({pid_file.stem}), left over from an earlier run, does not stop")
    pid_file.unlink(missing_ok=True)
    return found


def began(pid: int) -> str | None:
    """When the process began, in the system's own terms; None if there is no such process (a zombie is none)."""
    if platform.system() != "Linux":
        answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return "-".join(answer.stdout.split()) or None
    try:
        # The second field is the program's name in brackets and may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def as_user(run_as: RunAs | None) -> list[str]:
    """The words before a command that run it as another user; none if it runs as ourselves."""
    if run_as is None:
        return []
    words = ["setpriv", "--reuid", run_as.user, "--regid", run_as.group, "--clear-groups"]
    if run_as.capabilities:
        kept = ",".join(f"+{capability}" for capability in run_as.capabilities)
        # Without no_setuid_fixup, access(2) ignores the capabilities of a process whose user is not root.
        words += ["--securebits", "+no_setuid_fixup", "--inh-caps", kept, "--ambient-caps", kept]
    return words


def _guard(death_signal: signal.Signals, run_as: RunAs | None) -> list[str]:
    words = as_user(run_as)
    if platform.system() == "Linux" and shutil.which("setpriv"):
        words = [*(words or ["setpriv"]), "--pdeathsig", death_signal.name.removeprefix("SIG"), "--"]
    return words


def _fork(arguments: list[str], environment: dict[str, str], output: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        arguments, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )


def _recorded(pid_file: Path) -> tuple[int, str] | None:
    try:
        pid, beginning = pid_file.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid), beginning


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _wait_until_gone(pid: int, beginning: str, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while began(pid) == beginning and time.monotonic() < until:
        time.sleep(POLL_S)
