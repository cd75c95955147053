"""`make setup`: from a bare Python >= 3.11 to a `.venv` with the locked dependencies, the command `oaas`, and RabbitMQ.

Runs with the system's Python and its standard library. Does nothing, quickly, when everything is in place: a stamp in `.venv`
holds the hash of the lock.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.dev.install import CannotInstall, ensure_rabbitmq, install_with_apt  # noqa: E402 - it is found by the path set above

VENV, LOCK, TOOLS = ROOT / ".venv", ROOT / "requirements.lock", ROOT / ".oaas" / "uv"
STAMP = VENV / "oaas.stamp"
PYTHON = VENV / "bin" / "python"
FAST_S = 2.0

# Not a Python script: the kernel cuts a `#!` line after 127 bytes, and a checkout's path may be longer.
COMMAND = """#!/bin/sh
exec '{python}' -P -c 'import sys; sys.argv[0] = "oaas"; from infra.cli.main import main; main()' "$@"
"""


def main() -> int:
    """Set everything up; the exit code is 1 if something is missing that cannot be installed from here."""
    began = time.monotonic()
    try:
        _environment()
        if not os.environ.get("OAAS_RABBITMQ_URL"):
            ensure_rabbitmq(say)
    except (CannotInstall, subprocess.CalledProcessError) as error:
        say(f"error: {error}")
        return 1
    if time.monotonic() - began > FAST_S:
        say(f"set up in {time.monotonic() - began:.0f} s")
    return 0


def say(line: str) -> None:
    """One calm line."""
    sys.stdout.write(f"setup: {line}\n")
    sys.stdout.flush()


def _environment() -> None:
    wanted = f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {ROOT}\n"
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        return
    uv = _uv()
    if not PYTHON.exists():
        say(f"creating .venv with Python {sys.version.split()[0]}")
        _run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(VENV)])
    say("installing the locked dependencies")
    # Compiled now, once: else the platform's processes, all starting together, each compile the same files.
    _run([uv, "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes", "--python", str(PYTHON), str(LOCK)])
    _install_ourselves()
    STAMP.write_text(wanted)


def _install_ourselves() -> None:
    """Put the checkout on the environment's path, and the command `oaas` into it: what an editable install does, without a build."""
    site = subprocess.run([str(PYTHON), "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True)
    (Path(site.stdout.strip()) / "oaas.pth").write_text(f"{ROOT}\n")
    command = VENV / "bin" / "oaas"
    command.write_text(COMMAND.format(python=PYTHON))
    command.chmod(0o755)


def _uv() -> str:
    """The command `uv`: the one on the PATH if it works, else one of our own under `.oaas/uv`."""
    for candidate in ("uv", str(TOOLS / "bin" / "uv")):
        found = shutil.which(candidate)
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    say("installing uv, which installs everything else")
    if not _works("import ensurepip, venv"):
        # Debian packs these apart from Python.
        install_with_apt(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
    _run([sys.executable, "-m", "venv", "--clear", str(TOOLS)])
    _run([str(TOOLS / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "uv"])
    return str(TOOLS / "bin" / "uv")


def _works(code: str) -> bool:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def _run(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
