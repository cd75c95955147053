"""Installs the peers, from whatever registries this machine's package clients are set up for, and never into our own environment.

DBOS, Celery and Restate's SDK: into a virtual environment under `<home>/peers`, with `uv` or else with `pip`, on the interpreter that we
run on ourselves; the extra `peers` of `pyproject.toml` says which. Restate's server: a binary inside its npm package.
"""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from infra.dev.install import install_with_apt
from infra.errors import Misconfigured

RESTATE_SERVER: Final = "@restatedev/restate-server@1.7.12"
_ROOT: Final = Path(__file__).resolve().parents[3]
_INSTALL_MAX_S: Final = 600.0

Say = Callable[[str], None]


class CannotInstallPeer(Misconfigured):
    """A peer could not be installed; the message says what was tried."""


def peers_python(home: Path, say: Say) -> Path:
    """The interpreter of the environment that the peers are in; quick when all is there."""
    environment = home / "peers" / "python"
    python, stamp = environment / "bin" / "python", environment / "peers.stamp"
    wanted = _requirements()
    installed = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == installed:
        return python
    say(f"installing {', '.join(wanted)}")
    shutil.rmtree(environment, ignore_errors=True)
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)])
        _run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *wanted])
    else:
        _run([sys.executable, "-m", "venv", str(environment)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
    stamp.write_text(installed)
    return python


def restate_server(home: Path, say: Say) -> Path:
    """Restate's server; quick when it is there. Its package's scripts, which report to somebody, are not run."""
    folder = home / "peers" / "npm" / RESTATE_SERVER.rpartition("@")[2]
    if not (found := _binary(folder)):
        if shutil.which("npm") is None:
            say("npm is not installed: installing the system's package with apt")
            install_with_apt("npm")
        say(f"installing {RESTATE_SERVER}")
        folder.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", RESTATE_SERVER])
        found = _binary(folder)
    if not found:
        raise CannotInstallPeer(f"{RESTATE_SERVER} has no server for this machine under {folder}")
    return found


def _binary(folder: Path) -> Path | None:
    return next(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"), None)


def _requirements() -> list[str]:
    with (_ROOT / "pyproject.toml").open("rb") as file:
        wanted: list[str] = tomllib.load(file)["project"]["optional-dependencies"]["peers"]
    return wanted


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_INSTALL_MAX_S)
    if done.returncode != 0:
        raise CannotInstallPeer(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
