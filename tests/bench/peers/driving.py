"""Drives a peer as ours is driven: as fast as it can, or at a steady rate whatever it does; then checks what is in its books."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from tests.bench.cpu import between, cpu_s
from tests.bench.figures import Latency, Run, WrongEndState
from tests.bench.peers.taking import Counter
from tests.bench.workload import EndState, expected

_LOOK_EVERY_S: Final = 0.1
_STALLED_S: Final = 60.0
_SETTLE_S: Final = 0.5
"""After the last final state, for what a peer notes down behind it: its CPU counts, and it must not burden the next run."""
_FINAL: Final = "SELECT count(*) FROM orders.customer_order WHERE status <> 'PENDING'"
_ENDS: Final = """
    SELECT order_id, extract(epoch FROM created_at)::float8 AS created, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS ended
    FROM orders.customer_order WHERE order_id >= $1"""
_END: Final = """
    SELECT (SELECT count(*) FROM orders.customer_order WHERE status = 'CONFIRMED') AS confirmed,
        (SELECT count(*) FROM orders.customer_order WHERE status = 'REJECTED') AS rejected,
        (SELECT count(*) FROM orders.customer_order WHERE status NOT IN ('CONFIRMED', 'REJECTED')) AS pending,
        (SELECT sum(held) FROM inventory.stock)::bigint AS units_held,
        (SELECT sum(received - available) FROM inventory.stock)::bigint AS units_gone,
        (SELECT sum(orders_held) FROM tenants.quota)::bigint AS orders_in_quota,
        (SELECT sum(pence_held) FROM tenants.quota)::bigint AS pence_in_quota"""
_RESERVED: Final = """
    SELECT (SELECT coalesce(sum(quantity), 0) FROM inventory.reservation)::bigint,
        (SELECT count(*) FROM tenants.reservation), (SELECT coalesce(sum(pence), 0) FROM tenants.reservation)::bigint"""


@dataclass
class Driver:
    """One running peer's orders, counted from 0 over all of its runs. `parts`: by name the process that is the root of each."""

    name: str
    counter: Counter
    administrator: asyncpg.Connection
    parts: Callable[[], Mapping[str, int]]
    handed_out: int = 0

    async def capacity(self, orders: int) -> Run:
        """So many orders at once, its clients take them as fast as they can; latency is from an order's creation."""
        first = self.handed_out
        return await self._measured(orders, None, asyncio.to_thread(self.counter.hand_out, first, orders))

    async def at(self, per_second: float, seconds: float) -> Run:
        """So many a second, each handed out when it is due; latency is from that moment."""
        orders = int(per_second * seconds)
        return await self._measured(orders, per_second, self._steady(orders, per_second))

    async def _measured(self, orders: int, offered: float | None, drive: Coroutine[None, None, None]) -> Run:
        first, before = self.handed_out, cpu_s(self.parts())
        began = time.time()
        await drive
        self.handed_out += orders
        await self._all_final()
        rows = await self.administrator.fetch(_ENDS, first)
        await asyncio.sleep(_SETTLE_S)
        spent = between(before, cpu_s(self.parts()))
        await self.check()
        since = {row["order_id"]: began + (row["order_id"] - first) / offered if offered else row["created"] for row in rows}
        latencies = [row["ended"] - since[row["order_id"]] for row in rows]
        return Run(self.name, orders, max(row["ended"] for row in rows) - began, spent, Latency.of(latencies), offered)

    async def _steady(self, orders: int, per_second: float) -> None:
        first, sent, began = self.handed_out, 0, time.time()
        while sent < orders:
            due = min(orders, int((time.time() - began) * per_second) + 1)
            self.counter.hand_out(first + sent, due - sent)
            sent = due
            await asyncio.sleep(max(0, began + sent / per_second - time.time()))

    async def _all_final(self) -> None:
        seen, moved = -1, time.monotonic()
        while (final := int(await self.administrator.fetchval(_FINAL))) < self.handed_out:
            self.parts()  # notices one that has died
            if final > seen:
                seen, moved = final, time.monotonic()
            elif time.monotonic() - moved > _STALLED_S:
                raise WrongEndState(self.name, f"{final} final, and no other within {_STALLED_S:.0f} s", self.handed_out)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def check(self) -> None:
        """Raise WrongEndState unless the books say what must have come of all orders that were handed out, counted in two ways."""
        wanted = expected(self.counter.workload, self.handed_out)
        row = await self.administrator.fetchrow(_END)
        assert row is not None
        if (seen := EndState(**dict(row))) != wanted:
            raise WrongEndState(self.name, seen, wanted)
        reserved = tuple(await self.administrator.fetchrow(_RESERVED) or ())
        if reserved != (sums := (wanted.units_held, wanted.orders_in_quota, wanted.pence_in_quota)):
            raise WrongEndState(self.name, reserved, sums)
