"""Where stories are played: a running platform, its clients, and the power to kill and restart its processes.

A story says what happens with `say`; waiting polls with a deadline and, when that passes, raises with what was seen instead.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

from contracts.values import OrderStatus
from infra.dev.demo_client import Administrator, Clients, Order, Retailer, Unexpected
from infra.dev.up import Platform
from infra.services import MODULES

T = TypeVar("T")
Say = Callable[[str], None]

PATIENCE_S: Final = 30.0
"""Longest that anything may take that is not waiting for a deadline; what is well takes milliseconds."""
AMPLE: Final = 1_000_000
LIMITS: Final = (AMPLE, 100 * AMPLE)
_POLL_S: Final = 0.05
_ENDS: Final = frozenset({"COMPLETED", "ABANDONED"})


@dataclass(frozen=True)
class _Run:
    """How a worker was last started."""

    command: tuple[str, ...]
    overrides: Mapping[str, str] = field(default_factory=dict)


class Stage:
    """One platform, and everybody who has played on it. `retailers` are all that were made: the proof counts them."""

    def __init__(self, running: Platform, clients: Clients, say: Say) -> None:
        self.running = running
        self.say = say
        self.administrator: Administrator = clients.administrator()
        self.retailers: list[Retailer] = []
        self._clients = clients
        self._runs: dict[str, _Run] = {}

    async def retailer(self, name: str, products: dict[str, tuple[int, int]], limits: tuple[int, int] = LIMITS) -> Retailer:
        """A fresh tenant with a shop; `products`: SKU -> (pence, units); `limits`: orders and pence per month."""
        retailer = self._clients.retailer(name, await self.administrator.add_tenant(name, *limits))
        await retailer.open(products)
        self.retailers.append(retailer)
        return retailer

    async def run(self, service: str, *command: str, **overrides: str) -> None:
        """Have the service's worker run with exactly these settings beside the platform's; restarts it only if it must.

        `command`: the words after `python -m`, for a test's own worker; the platform's own if none is given.
        """
        wanted = _Run(command or ("infra.cli", "worker", service), overrides)
        if self.pid(service) is None or self._runs.get(service, _Run(("infra.cli", "worker", service))) != wanted:
            await asyncio.to_thread(self._restart, service, wanted)

    async def restore(self) -> None:
        """Every worker runs, with the platform's settings."""
        await asyncio.gather(*map(self.run, MODULES))

    def pid(self, service: str) -> int | None:
        """Process id of the service's worker while it lives."""
        return self.running.supervisor.pid(service)

    async def kill(self, service: str) -> None:
        """SIGKILL, and it stays down until `run`."""
        await asyncio.to_thread(self.running.supervisor.kill, service)

    async def until_dead(self, service: str, pid: int) -> None:
        """Wait until this process of the service is gone, and keep the service down."""
        await until(lambda: _now(self.pid(service)), lambda current: current != pid, f"the worker {service} ({pid}) to die")
        await self.kill(service)

    async def follow(self, retailer: Retailer, order_id: UUID, within_s: float = PATIENCE_S) -> Order:
        """Tell the order's timeline line by line until its saga has ended."""
        told = 0
        has_ended = False

        async def look() -> Order:
            nonlocal told, has_ended
            order = await retailer.find(order_id)
            happenings = await retailer.timeline(order_id)
            for one in happenings[told:]:
                self.say(f"[dim]+{(one.at - happenings[0].at).total_seconds():6.3f} s[/]  {one.words}")
            told = len(happenings)
            has_ended = any(one.kind in _ENDS for one in happenings)
            return order

        return await until(look, lambda order: settled(order) and has_ended, f"order {order_id} of {retailer.name} to end", within_s)

    def _restart(self, service: str, wanted: "_Run") -> None:
        supervisor = self.running.supervisor
        supervisor.stop(service)
        supervisor.add(service, [sys.executable, "-m", *wanted.command], {**self.running.environment, **wanted.overrides})
        self._runs[service] = wanted
        supervisor.wait_until_ready(service, 2 * PATIENCE_S)


async def until(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], what: str, within_s: float = PATIENCE_S) -> T:
    """Look again and again until what is seen is as wanted; raises Unexpected with the last look after `within_s` seconds."""
    end = time.monotonic() + within_s
    while not wanted(seen := await look()):
        if time.monotonic() > end:
            raise Unexpected(f"waited {within_s:.0f} s for {what}; last seen: {seen}")
        await asyncio.sleep(_POLL_S)
    return seen


def settled(order: Order) -> bool:
    """Neither being placed nor being cancelled."""
    return order.status not in (OrderStatus.PENDING, OrderStatus.CANCELLING)


def expect(seen: T, wanted: T, what: str) -> None:
    """Raises Unexpected unless both are the same."""
    if seen != wanted:
        raise Unexpected(f"{what}: {seen}, and not {wanted}")


async def _now(value: T) -> T:
    return value
