"""Install RabbitMQ with the system's package manager if it is absent. Standard library only: `make setup` runs it early."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from infra.dev.rabbitmq import server_script
from infra.errors import Misconfigured

_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_APT_MAX_S: Final = 900


class CannotInstall(Misconfigured):
    """A package is missing and cannot be installed from here; the message names the one command that does."""


def ensure_rabbitmq(say: Callable[[str], None]) -> None:
    """Do nothing if RabbitMQ is there, else say so and install it; raises CannotInstall."""
    if server_script() is not None:
        return
    if shutil.which("apt-get"):
        say("RabbitMQ is not installed: installing the system's package rabbitmq-server with apt (its service is not started)")
        install_with_apt("rabbitmq-server")
    elif platform.system() == "Darwin" and shutil.which("brew"):
        say("RabbitMQ is not installed: installing it with Homebrew (its service is not started)")
        _run(["brew", "install", "rabbitmq"], "brew install rabbitmq")
    else:
        raise CannotInstall(
            "RabbitMQ is not installed and there is neither apt nor brew here: install `rabbitmq-server`, or set OAAS_RABBITMQ_URL"
        )
    if server_script() is None:
        raise CannotInstall("the package rabbitmq-server was installed, but its start script was not found")


def install_with_apt(package: str) -> None:
    """Install one Debian package without starting its service; raises CannotInstall."""
    if not shutil.which("apt-get"):
        raise CannotInstall(f"the package {package} is missing, and there is no apt here to install it with")
    by_hand = f"sudo apt-get update && sudo apt-get install -y {package}"
    root = _as_root(by_hand)
    _run([*root, "apt-get", "update", "-q"], by_hand)
    with _services_stay_stopped(root):
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        _run([*root, *environment, "apt-get", "install", "-y", "-q", "--no-install-recommends", package], by_hand)
    if shutil.which("systemctl"):
        # The package also enables its service for the next boot; we only want the programs.
        subprocess.run([*root, "systemctl", "disable", "--quiet", package], capture_output=True, check=False)


def _as_root(by_hand: str) -> list[str]:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0:
        return ["sudo", "-n"]
    raise CannotInstall(f"installing a package needs root. Run once: {by_hand}")


@contextmanager
def _services_stay_stopped(root: list[str]) -> Iterator[None]:
    """While this lasts, Debian's packages do not start services; a policy that is there already is left alone."""
    if _POLICY.exists():
        yield
        return
    subprocess.run([*root, "tee", str(_POLICY)], input=b"#!/bin/sh\nexit 101\n", stdout=subprocess.DEVNULL, check=True)
    subprocess.run([*root, "chmod", "755", str(_POLICY)], check=True)
    try:
        yield
    finally:
        subprocess.run([*root, "rm", "-f", str(_POLICY)], check=True)


def _run(command: list[str], by_hand: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_APT_MAX_S)
    if done.returncode != 0:
        raise CannotInstall(f"`{' '.join(command)}` failed; try by hand: {by_hand}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
