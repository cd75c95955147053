"""Restate: a server that keeps a journal of each saga, and calls the application for it over HTTP/2."""

import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

from infra.dev.ports import LOOPBACK, free_port, is_free
from tests.bench.peers.driving import Driver
from tests.bench.peers.house import House, NotReady, house
from tests.bench.peers.installing import Say, peers_python, restate_server
from tests.bench.workload import Workload

NAME: Final = "Restate"
_WORKERS: Final = 2
_CONNECTIONS: Final = 64
_PARTITIONS: Final = 1
_ASK_MAX_S: Final = 10.0
# Each write is flushed to disk before it is acknowledged: that is Restate's default, and is left.
_CONFIGURATION: Final = f"""
bind-ip = "{LOOPBACK}"
bind-port = {{fabric}}
listen-mode = "tcp"
default-num-partitions = {_PARTITIONS}
disable-telemetry = true
log-filter = "warn"
[ingress]
bind-port = {{ingress}}
[admin]
bind-port = {{admin}}
disable-web-ui = true
"""
_GRANIAN: Final = f"--interface asginl --http 2 --no-ws --loop uvloop --workers {_WORKERS} --workers-kill-timeout 1 --port".split()


@asynccontextmanager
async def restate(home: Path, tools: Path, workload: Workload, say: Say) -> AsyncIterator[Driver]:
    """Server, application and clients, running. `home`: an empty folder; `tools`: where all is or will be installed."""
    server, python = restate_server(tools, say), peers_python(tools, say)
    async with house(home, python, workload) as made:
        say(f"starting {NAME}: {_PARTITIONS} partition(s), {_WORKERS} workers, {_CONNECTIONS} connections")
        ports = {name: free_port() for name in ("fabric", "ingress", "admin", "application")}
        _start_server(made, server, ports)
        granian = [str(python.parent / "granian"), *_GRANIAN, str(ports["application"])]
        made.start("workers", [*granian, "tests.bench.peers.restate_worker:application"])
        made.wait_for("workers", lambda: not is_free(ports["application"]))
        _register(ports)
        environment = {"PEER_INGRESS": str(ports["ingress"]), "PEER_CONNECTIONS": str(_CONNECTIONS)}
        made.start("clients", [str(python), "-m", "tests.bench.peers.restate_client"], environment)
        made.wait_for("clients")
        yield made.driver(NAME)


def _start_server(house: House, server: Path, ports: Mapping[str, int]) -> None:
    file = house.home / "restate.toml"
    file.write_text(_CONFIGURATION.format(**ports))
    words = ["--no-logo", "--config-file", str(file), "--base-dir", str(house.home / "restate"), "--node-name", "one"]
    house.start(NAME, [str(server), *words])
    healths = (("admin", "/health"), ("ingress", "/restate/health"))
    house.wait_for(NAME, lambda: all(_answers(ports[name], path) for name, path in healths))


def _register(ports: Mapping[str, int]) -> None:
    """Tell the server where the application is; it asks it over HTTP/2 what its handlers are."""
    body = json.dumps({"uri": f"http://{LOOPBACK}:{ports['application']}", "use_http_11": False})
    answer = _ask(ports["admin"], "POST", "/deployments", body)
    if answer is None or answer[0] not in (HTTPStatus.OK, HTTPStatus.CREATED):
        raise NotReady(f"Restate does not take the application: {answer}")


def _answers(port: int, path: str) -> bool:
    answer = _ask(port, "GET", path)
    return answer is not None and answer[0] == HTTPStatus.OK


def _ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes] | None:
    """Status and body; None if nobody answers. Not urllib: it would ask a proxy that the environment names."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ASK_MAX_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
