"""`python -m tests.bench.ingress`: how many orders one API process takes over HTTP, and how soon it answers.

Each order with a verified token, validated, with an Idempotency-Key of its own, durable and in its tenant's scope. The workers are
stopped; PostgreSQL, RabbitMQ and `wrk` (from Debian) share the cores. Afterwards all that was answered 202 must be there, once.
"""

import argparse
import asyncio
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from infra.dev.children import Escalation, spawn
from infra.dev.ports import LOOPBACK, free_port
from infra.settings import Settings
from infra.token import token
from tests.bench.books import Town
from tests.bench.cpu import between
from tests.bench.figures import Latency, WrongEndState
from tests.bench.ingress_client import OpenLoop
from tests.bench.stack import UNBOUNDED, Stack, stack
from tests.bench.workload import Workload

TENANTS: Final = 50
CONNECTIONS: Final = 64
_THREADS: Final = 1
_WARM_S: Final = 3
_SETTLED_WITHIN_S: Final = 60.0
_STOP: Final[Escalation] = ((signal.SIGTERM, 5), (signal.SIGKILL, 5))
"""Nobody works them off here."""
_LUA: Final = Path(__file__).with_name("ingress.lua")
_UNDER_WAY: Final = "SELECT (SELECT count(*) FROM orders.customer_order WHERE status = 'PENDING'), (SELECT count(*) FROM orders.outbox)"


@dataclass(frozen=True)
class Figure:
    """What one load came to. `offered`: requests per second of an open loop; None for as fast as it goes."""

    name: str
    offered: float | None
    per_second: float
    refused: int
    latency: Latency
    cpu_us: Mapping[str, float]
    """CPU-microseconds per request, by part."""


@dataclass
class Ingress:
    """A running platform without workers, and the orders that were answered so far."""

    stack: Stack
    town: Town
    file: Path
    answered: int = 0
    cut: int = 0
    """Requests that were under way when wrk ended: nobody knows their answers."""

    async def capacity(self, name: str, tenants: int, seconds: float) -> Figure:
        """As fast as wrk's connections go."""
        file = self.file.with_name(f"tenants-{tenants}")
        self._write(file, tenants)
        before = await self.stack.spent()
        told = await asyncio.to_thread(_wrk, self.stack.running.api_url, file, seconds)
        after = await self.stack.spent()
        taken = told["requests"] - told["refused"]
        self.answered += taken
        self.cut += CONNECTIONS
        latency = Latency(told["p50"], told["p95"], told["p99"])
        cpu = between(before.cpu_s, after.cpu_s)
        return Figure(name, None, taken / told["seconds"], told["refused"] + told["lost"], latency, _per_request(cpu, told["requests"]))

    async def at(self, name: str, tenants: int, per_second: float, seconds: float) -> Figure:
        """A steady rate, whatever it does to the API."""
        requests = order_requests(tenants_of(self.stack.settings, self.town, tenants))
        before, began = await self.stack.spent(), time.monotonic()
        answers = await OpenLoop(self.stack.running.api_url, requests, CONNECTIONS).run(per_second, seconds)
        took_s = time.monotonic() - began
        cpu = between(before.cpu_s, (await self.stack.spent()).cpu_s)
        self.answered += answers.statuses[202]
        sent = sum(answers.statuses.values())
        taken = answers.statuses[202]
        return Figure(name, per_second, taken / took_s, sent - taken, answers.latency(202), _per_request(cpu, sent))

    async def check(self) -> None:
        """Everything that was answered is there, PENDING, and was published once; raises WrongEndState."""
        until = time.monotonic() + _SETTLED_WITHIN_S
        while True:
            row = await self.stack.administrator.fetchrow(_UNDER_WAY)
            assert row is not None
            seen = {"PENDING": row[0], "in the outbox": row[1], "published": _published(self.stack.running.api_url)}
            in_hand = seen["in the outbox"] + seen["published"]
            if self.answered <= seen["PENDING"] <= self.answered + self.cut and seen["PENDING"] == in_hand:
                return
            if time.monotonic() > until:
                raise WrongEndState(
                    "ingress", seen, f"{self.answered} to {self.answered + self.cut} PENDING, each published or in the outbox"
                )
            await asyncio.sleep(0.2)

    def _write(self, file: Path, tenants: int) -> None:
        found = tenants_of(self.stack.settings, self.town, tenants)
        file.write_text("".join(f"{bearer} {shop}\n" for bearer, shop in found), encoding="ascii")


def tenants_of(settings: Settings, town: Town, many: int) -> list[tuple[str, str]]:
    """A token and the shop of each of the first tenants."""
    scope = "orders:read orders:write"
    tokens = (token(settings, tenant=str(town.tenant(number)), scope=scope, ttl="1h")["token"] for number in range(many))
    return [(str(bearer), str(town.shop(number))) for number, bearer in enumerate(tokens)]


def order_requests(tenants: Sequence[tuple[str, str]]) -> Iterator[bytes]:
    """Orders of the tenants in turn, each with an Idempotency-Key of its own, as they go over the wire."""
    run = uuid4().hex
    for number in count():
        bearer, shop = tenants[number % len(tenants)]
        body = f'{{"shop_id":"{shop}","lines":[{{"sku":"SKU-{number % 200}","quantity":1}}]}}'
        yield (
            f"POST /v1/orders HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer {bearer}\r\n"
            f"Idempotency-Key: {run}-{number}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode("ascii")


@asynccontextmanager
async def ingress(home: Path, say: Any, overrides: Mapping[str, str]) -> AsyncIterator[Ingress]:
    """The platform with its API, without workers, its tenants open."""
    town = Town(Workload(TENANTS))
    async with stack(home, say, layout={}, overrides={**UNBOUNDED, **overrides}) as running:
        await town.fill(running.administrator)
        yield Ingress(running, town, home / "tenants")


def ceiling(home: Path, seconds: float, file: Path) -> Figure:
    """The same load on the same route of bare Starlette, in one process."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.ingress_bare", str(port)]
    bare = spawn(command, pid_file=home / "bare.pid", log=home / "bare.log", environment=dict(os.environ))
    try:
        _wait_for(port)
        told = _wrk(f"http://{LOOPBACK}:{port}", file, seconds)
    finally:
        bare.stop(_STOP)
    latency = Latency(told["p50"], told["p95"], told["p99"])
    return Figure("bare Starlette, no database", None, told["requests"] / told["seconds"], told["refused"], latency, {})


def _per_request(cpu_s: Mapping[str, float], requests: int) -> dict[str, float]:
    return {part: 1e6 * spent / requests for part, spent in cpu_s.items()}


def _wrk(url: str, tenants: Path, seconds: float) -> dict[str, Any]:
    environment = {**os.environ, "OAAS_BENCH_TENANTS": str(tenants), "OAAS_BENCH_RUN": uuid4().hex}
    command = ["wrk", f"-t{_THREADS}", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", str(_LUA), url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=seconds + 30)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _published(api_url: str) -> int:
    with urllib.request.urlopen(f"{api_url}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = (sample for family in families for sample in family.samples)
    return int(sum(one.value for one in samples if one.name == "oaas_envelopes_published_total" and one.labels["service"] == "orders"))


def _wait_for(port: int) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


async def measure(home: Path, seconds: float, overrides: Mapping[str, str], say: Callable[[str], None]) -> list[Figure]:
    """Every figure, once all that was answered has been found."""
    figures: list[Figure] = []
    async with ingress(home, say, overrides) as running:
        await running.capacity("warming up", TENANTS, _WARM_S)
        for name, tenants in ((f"{TENANTS} tenants", TENANTS), ("one tenant", 1)):
            say(f"{name}: as fast as {CONNECTIONS} connections go")
            figures.append(await running.capacity(f"{name}, capacity", tenants, seconds))
            await running.check()
            rate = figures[-1].per_second / 2
            say(f"{name}: {figures[-1].per_second:.0f}/s; now {rate:.0f}/s")
            figures.append(await running.at(f"{name}, half of it", tenants, rate, seconds))
            await running.check()
        file = home / f"tenants-{TENANTS}"
    say("the ceiling")
    return [*figures, ceiling(home, seconds, file)]


def table(figures: Sequence[Figure]) -> str:
    lines = [f"{'load':<30}{'orders/s':>10}{'refused':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}  CPU us per order"]
    for one in figures:
        cpu = ", ".join(f"{part} {spent:.0f}" for part, spent in one.cpu_us.items() if spent >= 1)
        lat = one.latency
        lines.append(f"{one.name:<30}{one.per_second:>10.0f}{one.refused:>9}{lat.p50:>9.1f}{lat.p95:>9.1f}{lat.p99:>9.1f}  {cpu}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="length of each run")
    parser.add_argument("--json", action="store_true", help="the figures as JSON instead of a table")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the API, such as OAAS_TRACE_RATIO=0")
    words = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("there is no wrk: apt-get install wrk")
    home = Path(tempfile.mkdtemp(prefix="oaas-ingress-"))
    say = functools.partial(print, file=sys.stderr, flush=True)
    try:
        overrides = dict(one.split("=", 1) for one in words.set)
        figures = uvloop.run(measure(home, words.seconds, overrides, say))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    sys.stdout.write(f"{json.dumps([asdict(one) for one in figures]) if words.json else table(figures)}\n")


if __name__ == "__main__":
    main()
