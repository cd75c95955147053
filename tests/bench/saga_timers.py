"""What timers cost and how exact they are: `python -m tests.bench.saga_timers [rounds]`.

Servers and coordinator are real, the participants simulated. Prints the p99 of healthy sagas with and without a thousand others in
backoff (rounds alternate), the error of the timers, what a kill loses, what ten thousand timers at once do, and idle processor time.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg
from pydantic import SecretStr

from contracts.payments import AuthorisePayment
from infra import clock
from infra.broker import close, open_broker
from infra.dev.servers import start_servers
from infra.migrate import migrate
from infra.services import MODULES, migrations_of
from infra.settings import Settings
from infra.topology import topology
from tests.bench.timer_rounds import Waiting, healthy_latencies_s, percentile, refuse_payments
from tests.integration.answering import Participants, eventually, participants
from tests.integration.coordinators import PAUSE, SHORT_PAUSE, coordinating
from tests.integration.workers import WorkerProcess

WAITING: Final = 1_000
ROUND_S: Final = 12.0
PER_SECOND: Final = 40.0
SETTLE_S: Final = 6.0
"""Beginning a thousand sagas is work of its own; what it leaves behind is not to be measured."""
IDLE_S: Final = 10.0


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


async def rounds(times: int, others: Participants, administrator: asyncpg.Connection, *, come_back: bool) -> None:
    """Alternate rounds without and with a thousand sagas in backoff: none of them due meanwhile, or coming back all the time."""
    spread_s = PAUSE.first.total_seconds() - 3 if come_back else 1.0
    say(f"{WAITING} in backoff, " + ("coming back all the time:" if come_back else "none of them due meanwhile:"))
    p50: dict[bool, list[float]] = {False: [], True: []}
    p99: dict[bool, list[float]] = {False: [], True: []}
    errors: list[float] = []
    await healthy_latencies_s(others, 3, PER_SECOND)
    for number in range(2 * times):
        is_with = bool(number % 2)
        # Begun over a whole pause, they come back as steadily as sagas do that did not all begin at once.
        waiting = await Waiting.begun(WAITING if is_with else 0, others, administrator, PAUSE, spread_s)
        await asyncio.sleep(SETTLE_S)
        since = clock.now()
        found = await healthy_latencies_s(others, ROUND_S, PER_SECOND)
        p50[is_with].append(percentile(found, 0.5))
        p99[is_with].append(percentile(found, 0.99))
        if is_with:
            errors += await waiting.errors_s(since, clock.now() - timedelta(seconds=1))
            await waiting.forget()
    for name, by_kind in (("p50", p50), ("p99", p99)):
        without, with_ = median(by_kind[False]) * 1000, median(by_kind[True]) * 1000
        each = "  ".join(f"{value * 1000:.1f}" for pair in zip(by_kind[False], by_kind[True], strict=True) for value in pair)
        say(f"  healthy {name}: {without:.1f} ms without, {with_:.1f} ms with them: x{with_ / without:.2f}   ({each})")
    if not errors:
        return
    fired = len(errors) / (times * (ROUND_S - 1))
    say(
        f"  timers fired at {fired:.0f}/s: error p50 {percentile(errors, 0.5) * 1000:.0f} ms, p99 {percentile(errors, 0.99) * 1000:.0f} ms,"
    )
    say(f"    worst {max(errors) * 1000:.0f} ms, of {len(errors)}")


async def idle(process: WorkerProcess, words: str) -> None:
    before = process.cpu_s()
    await asyncio.sleep(IDLE_S)
    say(f"idle, {words}: {(process.cpu_s() - before) / IDLE_S:.2%} of a core")


async def killed(settings: Settings, folder: Path, others: Participants, administrator: asyncpg.Connection) -> None:
    """A thousand in backoff, their coordinator killed; the next one asks every one again."""
    async with coordinating("short-timers", settings, folder) as process:
        waiting = await Waiting.begun(WAITING, others, administrator, SHORT_PAUSE)
        await process.end(signal.SIGKILL)
    down = clock.now()
    before = {id: len(times) for id, times in others.came.items()}
    async with coordinating("short-timers", settings, folder):
        up = clock.now()
        while (again := len(others.came.keys() - before.keys())) < WAITING:
            await asyncio.sleep(0.05)
            if clock.now() - up > timedelta(seconds=60):
                break
        say(f"killed with {WAITING} in backoff: {again} asked again, {(clock.now() - up).total_seconds():.1f} s after the restart")
        say(f"  (down for {(up - down).total_seconds():.1f} s; then deadlines wait for quiet queues)")
        await waiting.forget()


async def many_at_once(others: Participants, administrator: asyncpg.Connection, many: int) -> None:
    """So many sagas due at the same moment, beside healthy ones."""
    waiting = await Waiting.begun(many, others, administrator, PAUSE)
    await administrator.execute("UPDATE sagas.saga SET wake_at = now() + interval '1 hour' WHERE id = ANY($1::uuid[])", waiting.ids)
    await asyncio.sleep(3)
    calm = await healthy_latencies_s(others, 4, PER_SECOND)
    before = set(others.came)
    # The row says when it is found, the instance when its time has come: after that all are let go at once.
    await asyncio.sleep(PAUSE.first.total_seconds())
    await administrator.execute("UPDATE sagas.saga SET wake_at = now() WHERE id = ANY($1::uuid[])", waiting.ids)
    at = clock.now()
    busy = await healthy_latencies_s(others, 4, PER_SECOND)

    def asked_again() -> list[datetime]:
        return [others.came[one.id][0] for one in others.asked if one.id not in before and isinstance(one.data, AuthorisePayment)]

    await eventually(lambda: len(asked_again()) >= many, lambda: f"{len(asked_again())} of {many} asked again")
    say(f"{many} due at once: all asked again within {(max(asked_again()) - at).total_seconds():.1f} s;")
    say(f"  healthy p99 meanwhile {percentile(busy, 0.99) * 1000:.0f} ms, before {percentile(calm, 0.99) * 1000:.0f} ms")
    await waiting.forget()


@asynccontextmanager
async def platform(home: Path) -> AsyncIterator[tuple[Settings, asyncpg.Connection]]:
    """Servers of our own, migrated, queues declared."""
    servers = start_servers(home, say)
    try:
        settings = Settings(
            postgres_url=servers.postgres_url,
            rabbitmq_url=servers.rabbitmq_url,
            rabbitmq_management_url=servers.rabbitmq_management_url,
            role_secret=SecretStr("bench"),
        )
        for service in MODULES:
            await asyncio.to_thread(migrate, service, migrations_of(service), settings.postgres_url, settings.role_secret, lambda _: None)
        broker = open_broker(settings)
        await broker.connect()
        await topology.declare(broker)
        await topology.apply(settings)
        await close(broker)
        administrator = await asyncpg.connect(settings.postgres_url)
        yield settings, administrator
        await administrator.close()
    finally:
        servers.stop()


async def main(times: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            platform(Path(folder) / "home") as (settings, administrator),
            participants(settings.rabbitmq_url, refuse_payments) as others,
        ):
            async with coordinating("timers", settings, Path(folder)) as process:
                await asyncio.sleep(settings.settle_max_s)
                await idle(process, "no saga")
                await rounds(times, others, administrator, come_back=False)
                await rounds(times, others, administrator, come_back=True)
                await many_at_once(others, administrator, 10_000)
            await killed(settings, Path(folder), others, administrator)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
