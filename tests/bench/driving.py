"""Drives a running stack: as fast as it can (a closed loop), or at a steady rate whatever it does (an open loop)."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

from tests.bench.books import Held, end_state, held
from tests.bench.cpu import between
from tests.bench.figures import Latency, Run, WrongEndState
from tests.bench.stack import Spent, Stack
from tests.bench.workload import Work, Workload, expected

_GROUP_MAX: Final = 250
_SUBMITTERS: Final = 2
_LOOK_EVERY_S: Final = 0.1
_STALLED_S: Final = 60.0
_TICK_S: Final = 0.002
_OPEN: Final = "SELECT count(*) FROM orders.customer_order WHERE status = 'PENDING'"
_BUSY: Final = """
    SELECT (SELECT count(*) FROM sagas.saga WHERE state NOT IN ('COMPLETED', 'ABANDONED'))
        + (SELECT count(*) FROM sagas.outbox) + (SELECT count(*) FROM orders.outbox)
        + (SELECT count(*) FROM inventory.outbox) + (SELECT count(*) FROM tenants.outbox)"""
_ENDS: Final = """
    SELECT order_id, pg_xact_commit_timestamp(xmin) AS at FROM orders.customer_order WHERE created_at >= $1"""


class Submits(Protocol):
    """A way for orders to come in."""

    async def submit(self, works: Sequence[Work]) -> list[UUID]:
        """The ids of these orders, durable."""


@dataclass
class Driver:
    """One stack's orders, counted from 0 over all of its runs."""

    name: str
    stack: Stack
    submitter: Submits
    workload: Workload
    in_flight: int
    ignored_sagas: int = 0
    """Finished ones of others that were there before; their orders are COMPLETED."""
    _submitted: int = 0
    _due: dict[UUID, float] = field(default_factory=dict)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def capacity(self, orders: int, in_flight: int | None = None) -> Run:
        """So many orders, at most `in_flight` of them under way; from the first submission to the last final state."""
        return await self._measured(orders, None, self._closed(orders, in_flight or self.in_flight))

    async def at(self, per_second: float, seconds: float) -> Run:
        """So many a second, each submitted when it is due."""
        orders = int(per_second * seconds)
        return await self._measured(orders, per_second, self._steady(orders, per_second))

    async def _measured(self, orders: int, offered: float | None, drive: Coroutine[None, None, None]) -> Run:
        self._due.clear()
        began_at = datetime.now(UTC)
        before, own = await self.stack.spent(), time.process_time()
        began = time.time()
        await drive
        ends = await self._ended(began_at)
        after = await self.stack.spent()
        cpu_s = {**between(before.cpu_s, after.cpu_s), "submitting": time.process_time() - own}
        await self._check()
        latencies = [ends[id] - due for id, due in self._due.items()]
        more = _per_saga(before, after, orders)
        return Run(self.name, orders, max(ends.values()) - began, cpu_s, Latency.of(latencies), offered, more)

    async def _closed(self, orders: int, in_flight: int) -> None:
        left = iter(range(0, orders, _GROUP_MAX))
        first, until = self._submitted, self._submitted + orders

        async def submit() -> None:
            for start in left:
                while start + _GROUP_MAX - in_flight > await self._final():  # noqa: ASYNC110 - it is looked for in the books
                    await asyncio.sleep(_LOOK_EVERY_S)
                await self._submit(first + start, min(_GROUP_MAX, until - first - start), time.time())

        await asyncio.gather(*(submit() for _ in range(_SUBMITTERS)))

    async def _steady(self, orders: int, per_second: float) -> None:
        first, began = self._submitted, time.time()
        while (sent := self._submitted - first) < orders:
            due = min(orders, int((time.time() - began) * per_second) + 1) - sent
            if due <= 0:
                await asyncio.sleep(_TICK_S)
                continue
            await self._submit(self._submitted, due, began + sent / per_second, 1 / per_second)

    async def _submit(self, first: int, many: int, due: float, apart_s: float = 0) -> None:
        self._submitted = max(self._submitted, first + many)
        ids = await self.submitter.submit(list(self.workload.orders(first, many)))
        self._due |= {id: due + number * apart_s for number, id in enumerate(ids)}

    async def _final(self) -> int:
        """How many of this run's orders are final."""
        async with self._looking:
            return len(self._due) - int(await self.stack.administrator.fetchval(_OPEN))

    async def _ended(self, since: datetime) -> Mapping[UUID, float]:
        """When each order of this run came to its final state, once all have, and nothing is under way any more."""
        seen, moved = -1, time.monotonic()
        while (busy := int(await self.stack.administrator.fetchval(_OPEN))) or (
            busy := int(await self.stack.administrator.fetchval(_BUSY))
        ):
            if busy != seen:
                seen, moved = busy, time.monotonic()
            elif time.monotonic() - moved > _STALLED_S:
                raise WrongEndState(self.name, f"{busy} still under way, and none has moved for {_STALLED_S:.0f} s", 0)
            await asyncio.sleep(_LOOK_EVERY_S)
        return {row["order_id"]: row["at"].timestamp() for row in await self.stack.administrator.fetch(_ENDS, since)}

    async def _check(self) -> None:
        wanted = expected(self.workload, self._submitted)
        if (seen := await end_state(self.stack.administrator)) != wanted:
            raise WrongEndState(self.name, seen, wanted)
        sums = Held(wanted.units_held, wanted.orders_in_quota, 0, wanted.confirmed + wanted.rejected + self.ignored_sagas)
        if (counted := await held(self.stack.administrator)) != sums:
            raise WrongEndState(self.name, counted, sums)


def _per_saga(before: Spent, after: Spent, orders: int) -> dict[str, float]:
    counted = between({name: before.counted.get(name, 0.0) for name in after.counted}, after.counted)
    return {
        "WAL bytes per saga": (after.wal_bytes - before.wal_bytes) / orders,
        "fsyncs per saga": (after.fsyncs - before.fsyncs) / orders,
        "commits per saga": (after.commits - before.commits) / orders,
        "messages per saga": counted["oaas_envelopes_published_total"] / orders + 1,
        "envelopes per frame": counted["oaas_envelopes_published_total"] / max(1, counted["oaas_frame_envelopes_count"]),
        "envelopes per transaction": counted["oaas_batch_envelopes_sum"] / max(1, counted["oaas_batch_envelopes_count"]),
    }
