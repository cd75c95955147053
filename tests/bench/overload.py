"""`python -m tests.bench.overload`: three times as many orders as the platform can do, for a minute, and what becomes of it.

The whole platform, over HTTP, from an open loop. Beyond capacity clients must be refused (429, 503 with Retry-After), what is taken in
must be done within bounded time, nothing may grow without bound, and afterwards everything must be as before, without help.
Writes a plot to docs/overload.svg. Exit code 1 if the books do not add up or latency does not come back.
"""

import argparse
import asyncio
import functools
import json
import math
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import uvloop

from tests.bench.books import Held, Town, end_state, held
from tests.bench.cpu import memory_mib
from tests.bench.figures import WrongEndState, percentile
from tests.bench.ingress import order_requests, tenants_of
from tests.bench.ingress_client import Answers, OpenLoop
from tests.bench.overload_plot import Panel, svg
from tests.bench.stack import SHIPPED, Stack, stack
from tests.bench.workload import UNIT_PENCE, EndState, Workload

TENANTS: Final = 50
CONNECTIONS: Final = 256
OVER: Final = 3
"""How many times its capacity is asked of it."""
_PROBE_PER_S: Final = 3_000
_NORMAL_SHARE: Final = 0.3
_CALM_S: Final = 10
_CALM_FACTOR: Final = 3
"""Latency is normal again once its p99 is at most so many times that of before."""
_DRAINED_WITHIN_S: Final = 120.0
_UNDER_WAY: Final = """
    SELECT (SELECT count(*) FROM orders.customer_order WHERE status = 'PENDING') AS pending,
        (SELECT count(*) FROM orders.outbox) + (SELECT count(*) FROM sagas.outbox) + (SELECT count(*) FROM inventory.outbox)
        + (SELECT count(*) FROM tenants.outbox) AS outbox,
        (SELECT count(*) FROM sagas.saga WHERE state NOT IN ('COMPLETED', 'ABANDONED')) AS sagas"""
_DONE: Final = "SELECT count(*) FROM orders.customer_order WHERE status <> 'PENDING'"
_ENDS: Final = """
    SELECT extract(epoch FROM created_at)::float8 AS began, extract(epoch FROM pg_xact_commit_timestamp(xmin) - created_at)::float8 AS took
    FROM orders.customer_order WHERE status <> 'PENDING'"""


@dataclass
class Second:
    """What was seen at the end of one second of the run; `p50` and `p99`: to the final state, of orders taken in within it, ms."""

    at: float
    phase: str
    taken_in: int
    refused_429: int
    refused_503: int
    pending: int
    queued: int
    outbox: int
    rss_mib: Mapping[str, float]
    p50: float | None = None
    p99: float | None = None
    answer_p99: float | None = None


class Watch:
    """Looks at a running platform once a second, from its beginning to its end."""

    def __init__(self, running: Stack, books: asyncpg.Connection) -> None:
        self.answers = Answers()
        self.seconds: list[Second] = []
        self.phase = ""
        self._running = running
        self._books = books
        self._before = Counter[int]()
        self._seen = 0

    async def run(self) -> None:
        url = httpx.URL(self._running.running.servers.rabbitmq_management_url)
        async with httpx.AsyncClient(base_url=url.copy_with(userinfo=b""), auth=(url.username, url.password), timeout=10) as broker:
            while True:
                await asyncio.sleep(1)
                await self._look(broker)

    async def _look(self, broker: httpx.AsyncClient) -> None:
        row = await self._books.fetchrow(_UNDER_WAY)
        assert row is not None
        queues = (await broker.get("/api/queues", params={"columns": "messages_ready"})).json()
        came = Counter(self.answers.statuses)
        came.subtract(self._before)
        self._before = Counter(self.answers.statuses)
        took = self.answers.took_s.get(202, [])[self._seen :]
        self._seen += len(took)
        self.seconds.append(
            Second(
                at=time.time(),
                phase=self.phase,
                taken_in=came[202],
                refused_429=came[429],
                refused_503=came[503],
                pending=row["pending"],
                queued=sum(queue.get("messages_ready", 0) for queue in queues),
                outbox=row["outbox"],
                rss_mib=memory_mib(self._running.pids()),
                answer_p99=1000 * percentile(took, 0.99) if took else None,
            )
        )

    async def add_ends(self) -> None:
        """How long the orders of each second took, once all have ended."""
        took: dict[int, list[float]] = {}
        for row in await self._books.fetch(_ENDS):
            took.setdefault(math.ceil(row["began"]), []).append(row["took"])
        for second in self.seconds:
            ends = took.get(int(second.at))
            if ends:
                second.p50, second.p99 = (1000 * percentile(ends, share) for share in (0.5, 0.99))


@dataclass
class Overload:
    """One platform on which it is tried."""

    running: Stack
    town: Town
    watch: Watch
    say: Callable[[str], None]

    async def phase(self, name: str, per_second: float, seconds: float) -> None:
        self.say(f"{name}: {per_second:.0f}/s for {seconds:.0f} s")
        self.watch.phase = name
        requests = order_requests(tenants_of(self.running.settings, self.town, TENANTS))
        await OpenLoop(self.running.running.api_url, requests, CONNECTIONS, self.watch.answers).run(per_second, seconds)

    async def capacity(self, seconds: float) -> float:
        """Orders per second that come to their end while more are asked for than can be."""
        probing = asyncio.create_task(self.phase("probe", _PROBE_PER_S, seconds))
        await asyncio.sleep(seconds / 3)
        began, before = time.monotonic(), await self.running.administrator.fetchval(_DONE)
        await asyncio.sleep(seconds / 2)
        done = (await self.running.administrator.fetchval(_DONE) - before) / (time.monotonic() - began)
        await probing
        await self.drained()
        return float(done)

    async def drained(self) -> float:
        """Seconds until nothing is under way any more; raises WrongEndState if that takes too long."""
        self.watch.phase = "drain"
        began = time.monotonic()
        while True:
            row = await self.running.administrator.fetchrow(_UNDER_WAY)
            assert row is not None
            if row["pending"] == row["outbox"] == row["sagas"] == 0:
                return time.monotonic() - began
            if time.monotonic() - began > _DRAINED_WITHIN_S:
                raise WrongEndState("overload", dict(row), "nothing under way")
            await asyncio.sleep(0.2)

    async def check(self) -> None:
        """All that was taken in is confirmed, and the books say so; raises WrongEndState."""
        taken_in = self.watch.answers.statuses[202]
        wanted = EndState(taken_in, 0, 0, taken_in, taken_in, taken_in, taken_in * UNIT_PENCE)
        if (seen := await end_state(self.running.administrator)) != wanted:
            raise WrongEndState("overload", seen, wanted)
        sums = Held(taken_in, taken_in, 0, taken_in)
        if (counted := await held(self.running.administrator)) != sums:
            raise WrongEndState("overload", counted, sums)


async def measure(home: Path, seconds: float, overrides: Mapping[str, str], say: Callable[[str], None]) -> tuple[float, list[Second]]:
    """The capacity, and every second of the run: calm, overloaded, calm again."""
    town = Town(Workload(TENANTS))
    async with stack(home, say, saga=SHIPPED, overrides=overrides) as running:
        await town.fill(running.administrator)
        books = await asyncpg.connect(running.running.servers.postgres_url)
        watch = Watch(running, books)
        tried = Overload(running, town, watch, say)
        watching = asyncio.create_task(watch.run())
        try:
            capacity = await tried.capacity(15)
            say(f"it does {capacity:.0f} orders a second")
            await tried.phase("before", capacity * _NORMAL_SHARE, _CALM_S)
            await tried.phase("overload", capacity * OVER, seconds)
            await tried.phase("after", capacity * _NORMAL_SHARE, seconds / 2 + 2 * _CALM_S)
            say(f"drained {await tried.drained():.1f} s after the last order")
        finally:
            watching.cancel()
        (ended,) = await asyncio.gather(watching, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
        await tried.check()
        await watch.add_ends()
        await books.close()
    return capacity, watch.seconds


def calm_again_after_s(seconds: Sequence[Second]) -> float | None:
    """How long after the overload latency was as before, for good; None if it never was."""
    before = [one.p99 for one in seconds if one.phase == "before" and one.p99 is not None]
    after = [one for one in seconds if one.phase == "after" and one.p99 is not None]
    usual = percentile(before, 0.5) * _CALM_FACTOR
    for number, one in enumerate(after):
        rest = [later.p99 for later in after[number:] if later.p99 is not None]
        if rest and percentile(rest, 0.9) <= usual:
            return one.at - after[0].at
    return None


def plot(seconds: Sequence[Second]) -> str:
    begin = next(number for number, one in enumerate(seconds) if one.phase == "before")
    shown = seconds[begin:]
    overloaded = [number for number, one in enumerate(shown) if one.phase == "overload"]
    panels = [
        Panel(
            "Orders per second",
            {
                "taken in": [one.taken_in for one in shown],
                "refused 429": [one.refused_429 for one in shown],
                "refused 503": [one.refused_503 for one in shown],
            },
        ),
        Panel("Milliseconds from being placed to the end", {"p50": [one.p50 for one in shown], "p99": [one.p99 for one in shown]}),
        Panel("Milliseconds to the answer 202", {"p99": [one.answer_p99 for one in shown]}),
        Panel(
            "Under way",
            {
                "PENDING": [one.pending for one in shown],
                "messages ready": [one.queued for one in shown],
                "outbox rows": [one.outbox for one in shown],
            },
        ),
        Panel("Memory of our processes, MiB", {"all": [sum(one.rss_mib.values()) for one in shown]}),
    ]
    return svg(panels, (overloaded[0], overloaded[-1] + 1))


def table(seconds: Sequence[Second]) -> str:
    """The phases, each with what was seen in its seconds."""
    head = f"{'phase':<10}{'taken/s':>9}{'429/s':>8}{'503/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'pending':>9}{'ready':>8}{'outbox':>8}{'MiB':>7}"
    lines = [head]
    for phase in ("before", "overload", "after", "drain"):
        seen = [one for one in seconds if one.phase == phase]
        if seen:
            many = len(seen)
            sums = (sum(getattr(one, name) for one in seen) / many for name in ("taken_in", "refused_429", "refused_503"))
            ends = (percentile([value for one in seen if (value := getattr(one, name)) is not None], 0.5) for name in ("p50", "p99"))
            most = (max(getattr(one, name) for one in seen) for name in ("pending", "queued", "outbox"))
            taken, over, busy = sums
            middle, late = ends
            pending, queued, outbox = most
            memory = max(sum(one.rss_mib.values()) for one in seen)
            lines.append(
                f"{phase:<10}{taken:>9.0f}{over:>8.0f}{busy:>8.0f}{middle:>9.0f}{late:>9.0f}{pending:>9}{queued:>8}{outbox:>8}{memory:>7.0f}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="length of the overload")
    parser.add_argument("--json", action="store_true", help="every second as JSON instead of a table")
    parser.add_argument("--plot", type=Path, default=Path("docs/overload.svg"), help="file that the plot is written to")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as OAAS_BACKLOG_MAX=2000")
    words = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="oaas-overload-"))
    say = functools.partial(print, file=sys.stderr, flush=True)
    try:
        capacity, seconds = uvloop.run(measure(home, words.seconds, dict(one.split("=", 1) for one in words.set), say))
    except WrongEndState as wrong:
        say(wrong)
        sys.exit(1)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    words.plot.write_text(plot(seconds), encoding="utf-8")
    calm = calm_again_after_s(seconds)
    found = {"capacity": capacity, "calm again after s": calm, "seconds": [asdict(one) for one in seconds]}
    told = "never" if calm is None else f"{calm:.0f} s after the overload"
    sys.stdout.write(f"{json.dumps(found) if words.json else table(seconds)}\n")
    say(f"capacity {capacity:.0f}/s; latency is as before: {told}")
    sys.exit(0 if calm is not None else 1)


if __name__ == "__main__":
    main()
