"""compose.yaml and the image: the processes that `oaas up` starts, under the same names, closed to the outside, nobody as root."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from infra.services import MODULES
from infra.topology.definitions import definitions
from tests.architecture.source import ROOT, document

COMPOSE: Final = "compose.yaml"
DOCKERFILE: Final = "infra/deploy/docker/Dockerfile"
RABBITMQ: Final = "infra/deploy/rabbitmq"
EXAMPLE: Final = "infra/deploy/docker/example.env"
NAMES: Final = {"postgres", "rabbitmq", "migrate", "api", "acquirer", *(f"worker-{name}" for name in MODULES)}
LOOPBACK: Final = ("127.0.0.1:", "[::1]:")


def compose_problems(composed: dict[str, Any]) -> Iterator[str]:
    """What is missing in the file, and what it opens that should stay closed."""
    services = composed.get("services", {})
    yield from (f"service {name} is missing" for name in sorted(NAMES - set(services)))
    for name, service in services.items():
        if "image" not in service and "build" not in service:
            yield f"{name} has neither image nor build"
        yield from (f"{name} publishes {port} to everybody" for port in service.get("ports", []) if not _is_private(port))
        if service.get("user") in {"root", "0", 0} or service.get("privileged"):
            yield f"{name} runs as root"
        yield from (f"{name} depends on {other}, which is not there" for other in service.get("depends_on", ()) if other not in services)


def image_problems(dockerfile: str) -> Iterator[str]:
    """What the image lacks: stages, locked dependencies, a user of its own, a health check."""
    lines = [line.strip() for line in dockerfile.splitlines()]
    if sum(line.upper().startswith("FROM ") for line in lines) < 2:
        yield "the image is built in one stage, so its tools are shipped"
    users = [line.split()[1] for line in lines if line.upper().startswith("USER ")]
    if not users or users[-1].split(":")[0] in {"root", "0"}:
        yield "the image runs as root"
    if not any(line.upper().startswith("HEALTHCHECK ") for line in lines):
        yield "the image has no health check"
    if "requirements.lock" not in dockerfile or "--require-hashes" not in dockerfile:
        yield "the image does not install the lock by its hashes"


def _is_private(port: Any) -> bool:
    if isinstance(port, dict):
        return str(port.get("host_ip", "")) in {"127.0.0.1", "::1"}
    return str(port).startswith(LOOPBACK) or "127.0.0.1" in str(port).split("}", 1)[0]


def test_compose_starts_the_processes_under_their_names() -> None:
    assert list(compose_problems(yaml.safe_load(document(COMPOSE)))) == []


def test_rabbitmq_loads_the_definitions_and_a_user_who_may_use_them() -> None:
    service = yaml.safe_load(document(COMPOSE))["services"]["rabbitmq"]
    mounted = dict(volume.split(":")[:2] for volume in service["volumes"] if volume.startswith("./"))
    assert set(mounted) == {f"./{RABBITMQ}/{name}" for name in ("oaas.conf", "user.json", "definitions.json")}
    assert all((ROOT / source).is_file() for source in mounted)
    [script] = service["command"][2:]
    assert all(mounted[f"./{RABBITMQ}/{name}"] in script for name in ("user.json", "definitions.json"))
    [folder] = [line.split(" = ")[1] for line in document(f"{RABBITMQ}/oaas.conf").splitlines() if line.startswith("load_definitions")]
    assert script.count(folder) == 2
    user = json.loads(document(f"{RABBITMQ}/user.json"))
    assert [one["vhost"] for one in user["permissions"]] == [one["name"] for one in definitions()["vhosts"]]


def test_the_image_is_small_locked_and_nobodys_root() -> None:
    assert list(image_problems(document(DOCKERFILE))) == []


def test_docker_understands_compose() -> None:
    text = document(COMPOSE)
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        # Without Docker only the form can be checked: what Compose would read as a list or a mapping is one.
        composed = yaml.safe_load(text)
        assert all(isinstance(service, dict) for service in composed["services"].values())
        assert set(composed) <= {"name", "services", "volumes", "networks", "secrets", "configs"} | {
            key for key in composed if key[:2] == "x-"
        }
        return
    done = subprocess.run(
        ["docker", "compose", "--env-file", EXAMPLE, "-f", COMPOSE, "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


GOOD: Final = {"services": {name: {"image": "x"} for name in NAMES}}
GOOD_IMAGE: Final = """
FROM python:3.11-slim AS build
RUN pip install --require-hashes -r requirements.lock
FROM python:3.11-slim
HEALTHCHECK CMD x
USER oaas
"""


def _with(name: str, **changes: Any) -> dict[str, Any]:
    return {"services": {**GOOD["services"], name: {"image": "x", **changes}}}


@pytest.mark.parametrize(
    "composed",
    [
        {},
        {"services": {name: {"image": "x"} for name in NAMES - {"worker-sagas"}}},
        {"services": {**GOOD["services"], "api": {}}},
        _with("api", ports=["8000:8000"]),
        _with("postgres", ports=["0.0.0.0:5432:5432"]),
        _with("api", ports=[{"target": 8000, "published": 8000}]),
        _with("api", user="root"),
        _with("api", depends_on=["nobody"]),
    ],
)
def test_what_is_wrong_in_compose_is_seen(composed: dict[str, Any]) -> None:
    assert list(compose_problems(composed)) != []


@pytest.mark.parametrize("left_out", ["USER oaas", "HEALTHCHECK CMD x", "--require-hashes", "FROM python:3.11-slim AS build"])
def test_what_the_image_lacks_is_seen(left_out: str) -> None:
    assert list(image_problems(GOOD_IMAGE.replace(left_out, ""))) != []


def test_what_is_as_it_should_be_passes() -> None:
    assert list(compose_problems(_with("api", ports=["127.0.0.1:8000:8000"]))) == []
    assert list(image_problems(GOOD_IMAGE)) == []
