"""One run: mortal processes, everything twice, clients who do not give up, and a plan of faults; then a quiet time, and the verdict."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

import httpx

from infra.dev.demo_client import Retailer
from infra.dev.demo_stage import AMPLE, LIMITS, Stage
from infra.dev.up import Platform
from infra.settings import Settings
from infra.token import token
from tests.chaos import growth, proof
from tests.chaos.crowd import REQUEST_MAX_S, Crowd, Shopper
from tests.chaos.echo import LATER_MS, everything_twice
from tests.chaos.growth import Sample
from tests.chaos.journal import KILLED, STABBED
from tests.chaos.outages import ACTS
from tests.chaos.plan import STAB, Outage, Plan
from tests.chaos.processes import Mortals, mortals
from tests.chaos.report import FINAL_MAX_S, Injected, Report, broken_promises, rows_of
from tests.chaos.watch import Watch
from tests.chaos.wishes import CLOSED, PRICES, SCARCE, SMALL_PLAN, TENANTS, wishes

Say = Callable[[str], None]

_TELL_EVERY_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.25
_REST_MAX_S: Final = 120.0
_GRACE_S: Final = 5.0
_REST_LOOK_EVERY_S: Final = 1.0
_SCOPE: Final = "orders:read orders:write catalog:read"


@dataclass(frozen=True)
class Demand:
    """How much is ordered: at least so many orders, by so many clients at once, who think for so long in between while faults go on."""

    orders: int
    clients: int = 48
    think_s: float = 6.0
    faults_max_s: float = 1_500.0
    """When no more faults are injected, though some are left."""
    lasts_s: float = 0.0
    """How long faults and orders go on at least."""
    sample_every_s: float = 20.0
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Settings of the processes, beside the platform's."""

    @property
    def room(self) -> int:
        """Orders that a scarce tenant has stock or quota for."""
        return max(3, self.orders // 60)


class Run:
    """The parts of one run, while it goes on."""

    def __init__(self, running: Platform, plan: Plan, demand: Demand, say: Say) -> None:
        self.running, self.plan, self.demand, self._say = running, plan, demand, say
        self.began = time.monotonic()
        self.watch = Watch(running.servers.postgres_url)
        self.outages: list[Injected] = []
        self.samples: list[Sample] = []
        self.statuses: Counter[str] = Counter()
        self.faults_over_at: float | None = None
        self._current = ""

    async def inject(self, lives: Mortals, crowd: Crowd) -> None:
        """All faults of the plan, or those that there is time for."""
        stabs, outages = asyncio.create_task(self._stab(lives)), asyncio.create_task(self._break_servers(crowd))
        until = self.began + self.demand.faults_max_s
        while time.monotonic() < until:
            is_done = len(killed_of(lives)) == len(self.plan.kills) and stabs.done() and outages.done()
            if is_done and time.monotonic() > self.began + self.demand.lasts_s:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        stabs.cancel()
        # A server is not left broken.
        await asyncio.gather(stabs, outages, return_exceptions=True)
        lives.spare()
        self.faults_over_at = time.monotonic()
        crowd.hurry(FINAL_MAX_S + _GRACE_S)
        outages.result()

    async def _stab(self, lives: Mortals) -> None:
        for stab in self.plan.stabs:
            await asyncio.sleep(stab.pause_s)
            lives.stab(stab.process)

    async def _break_servers(self, crowd: Crowd) -> None:
        for outage in self.plan.outages:
            if self.began + self.demand.faults_max_s < time.monotonic() + outage.calm_s + outage.lasting_s:
                return
            await asyncio.sleep(outage.calm_s)
            await self._break(outage)
            await self._recovered(crowd, self.outages[-1].ended)

    async def _break(self, outage: Outage) -> None:
        begin, end = ACTS[outage.name]
        self._current = outage.name
        began = time.monotonic()
        await asyncio.to_thread(begin, self.running.servers)
        try:
            await asyncio.sleep(outage.lasting_s)
        finally:
            await asyncio.to_thread(end, self.running.servers)
        self.outages.append(Injected(outage.name, began, time.monotonic()))
        self._current = ""

    async def _recovered(self, crowd: Crowd, ended: float) -> None:
        """Wait until what was open at the end of an outage is final, as long as is promised: else a slow machine is in one long outage."""
        while time.monotonic() - ended < FINAL_MAX_S:
            if not any(since <= ended and done is None for one in crowd.journeys for since, done in one.spans if since is not None):
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def tell(self, crowd: Crowd, lives: Mortals) -> None:
        """What goes on, every few seconds, for ever."""
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            killed = len(killed_of(lives))
            self._say(
                f"[{time.monotonic() - self.began:5.0f} s] {crowd.accepted} orders accepted, {crowd.ended} at their end, "
                f"{self.watch.open_orders} open · kills {killed}/{len(self.plan.kills)} · "
                f"outages {len(self.outages)}/{len(self.plan.outages)} {self._current}"
            )

    async def look_after(self, crowd: Crowd, lives: Mortals) -> None:
        """Memory, queues, outbox and inbox, now and then, for ever."""
        while True:
            self.samples.append(await growth.sample(self.running, lives.pids, crowd.accepted))
            await asyncio.sleep(self.demand.sample_every_s)

    def goes_on(self, wished: int) -> bool:
        return self.faults_over_at is None or wished < self.demand.orders

    def think_s(self) -> float:
        """Nobody waits for faults that are over."""
        return self.demand.think_s if self.faults_over_at is None else 0.0


async def chaos(
    running: Platform, stage: Stage, settings: Settings, plan: Plan, demand: Demand, command: str, say: Say, *, restore: bool
) -> Report:
    """Play the plan on a running platform; `stage` makes the tenants, `restore`: the platform is to go on afterwards."""
    before = await proof.baseline(running)
    retailers = await _retailers(stage, demand.room)
    run = Run(running, plan, demand, say)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(everything_twice(running.servers.rabbitmq_url))
        shoppers = await stack.enter_async_context(_shoppers(running, settings, retailers, run.statuses))
        lives = await stack.enter_async_context(mortals(running, plan, demand.overrides, restore=restore))
        crowd = Crowd(shoppers, run.watch, wishes(plan.seed), str(uuid4()))
        run.began = time.monotonic()
        for endless in (run.watch.run(), run.tell(crowd, lives), run.look_after(crowd, lives)):
            task = asyncio.create_task(endless)
            task.add_done_callback(lambda done: None if done.cancelled() else say(f"one who watches has gone: {done.exception()!r}"))
            stack.push_async_callback(_end, task)
        faults = asyncio.create_task(run.inject(lives, crowd))
        await crowd.run(demand.clients, run.think_s, run.goes_on)
        await faults
        await _rest(running, [one.tenant_id for one in retailers.values()], say)
        say("all is quiet; counting")
        findings = await proof.judge(running, before, retailers, shoppers, crowd.journeys, demand.room)
        injected = [*run.outages, *_deaths(lives, plan)]
        # How much there is time for in a soak depends on the machine.
        wanted = Counter(one.name for one in injected) if demand.lasts_s else plan.wanted()
        rows = rows_of(wanted, injected, crowd.journeys, findings)
        broken = list(broken_promises(findings, _final_after(crowd, run)))
        lasted_s = time.monotonic() - run.began
        return Report(plan.seed, command, lasted_s, crowd.accepted, run.statuses, rows, findings, run.samples, broken)


def killed_of(lives: Mortals) -> dict[int, float]:
    """Assignments that were met, and when."""
    return {entry.kill: entry.at for entry in lives.entries() if entry.what == KILLED and entry.kill is not None}


def _deaths(lives: Mortals, plan: Plan) -> list[Injected]:
    met = killed_of(lives)
    kills = [Injected(kill.name, met[kill.id], met[kill.id]) for kill in plan.kills if kill.id in met]
    return kills + [Injected(STAB, entry.at, entry.at) for entry in lives.entries() if entry.what == STABBED]


def _final_after(crowd: Crowd, run: Run) -> float | None:
    """When the last order that was accepted before the last fault's end was final, seconds after it; None if it was not in time."""
    over = run.faults_over_at
    assert over is not None
    ends = [done for journey in crowd.journeys for since, done in journey.spans if since is not None and since <= over]
    late = [done for done in ends if done is None or done - over > FINAL_MAX_S]
    return None if late else max((done - over for done in ends if done is not None), default=0.0)


async def _retailers(stage: Stage, room: int) -> dict[str, Retailer]:
    made = {}
    for name, sort in TENANTS.items():
        products = {
            sku: (pence, room if sku == "truffle" else AMPLE) for sku, pence in PRICES.items() if (sku == "truffle") == (sort == SCARCE)
        }
        made[name] = await stage.retailer(f"{name} of chaos", products, (room, LIMITS[1]) if sort == SMALL_PLAN else LIMITS)
        if sort == CLOSED:
            await stage.administrator.suspend(made[name].tenant_id)
    return made


@asynccontextmanager
async def _shoppers(
    running: Platform, settings: Settings, retailers: Mapping[str, Retailer], statuses: Counter[str]
) -> AsyncIterator[dict[str, Shopper]]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=running.api_url, timeout=REQUEST_MAX_S, limits=limits) as http:
        made = {}
        for name, retailer in retailers.items():
            bearer = token(settings, tenant=str(retailer.tenant_id), scope=_SCOPE, ttl="7d")["token"]
            made[name] = Shopper(http, bearer, statuses)
            _, found = await made[name].ask("GET", "/v1/shops")
            made[name].shop = found["items"][0]["id"]
        yield made


async def _rest(running: Platform, tenants: Collection[UUID], say: Say) -> None:
    """Wait until no saga is open and nothing queued or unsent for longer than a second copy takes; for a while, the verdict will tell."""
    quiet_s = 2 * max(LATER_MS.values()) / 1000
    until, quiet_since = time.monotonic() + _REST_MAX_S, time.monotonic()
    while time.monotonic() < until and time.monotonic() - quiet_since < quiet_s:
        seen = await growth.sample(running, dict, 0)
        sagas = await proof.open_sagas(running, tenants)
        if seen.queued or seen.outbox or sagas:
            say(f"{sagas} sagas are open, {seen.queued} frames queued, {seen.outbox} messages unsent")
            quiet_since = time.monotonic()
        await asyncio.sleep(_REST_LOOK_EVERY_S)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
