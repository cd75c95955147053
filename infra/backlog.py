"""Admission: no more is taken in than can be done within some seconds. Beyond that clients are asked to come again.

How much that is follows from how fast it went of late: a slow machine's deadlines are as short as a fast one's.
What is under way is counted in the database when somebody asks and the last count is no longer fresh; in between, what this process
takes in itself is added. So a full platform refuses without asking anybody, an idle one counts nothing, and several processes
together take in at most what they do in one such interval more. One tenant may take up a share only: it is refused with 429 while others
are served; all are refused with 503 once everything is taken. If nobody can count, nothing is refused for it.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from prometheus_client import Counter as Total
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra import clock
from infra.retry import DRIVER_ERRORS
from infra.settings import Settings
from infra.unscoped.backlog import Counted, OrdersUnderWay

_log: Final = logging.getLogger(__name__)
_under_way: Final = Gauge("oaas_backlog", "What is under way in all tenants, as this process last counted it")
_refused: Final = Total("oaas_refused_total", "Requests refused because too much is under way", ["why"])

FRESH_S: Final = 0.5
"""Age at which a count is done again."""
USABLE_S: Final = 2.0
"""Age at which a count is worth nothing any more: whoever asks then waits for the next."""
LEARNED_WITHIN_S: Final = 5.0
"""Longest time between two counts that say how fast it goes."""
LOOK_MAX_S: Final = 2.0
"""Longest that a request waits for a count."""
RETRY_AFTER_MAX_S: Final = 30
_SMOOTH: Final = 0.3
"""Weight of the newest count in the measured speed."""


class TooMuch(Exception):
    """So much is under way that nothing more is taken in now. `tenant`: of this tenant, and there is room for others."""

    def __init__(self, retry_after_s: int, *, tenant: bool) -> None:
        super().__init__("the tenant's share of what can be under way is taken" if tenant else "all that can be under way is")
        self.retry_after_s = retry_after_s
        self.tenant = tenant


class Count(Protocol):
    """What is under way, as the database has it; at most `most` are counted."""

    async def count(self, now: datetime, since: datetime, most: int) -> Counted: ...


@dataclass(frozen=True)
class Bounds:
    """`seconds` of work, but no fewer than `least` and no more than `most`; `share`: the part of it that one tenant may take up."""

    least: int
    most: int
    seconds: float
    share: float

    def at(self, per_second: float) -> int:
        """What may be under way while so many are done a second."""
        return min(self.most, max(self.least, int(per_second * self.seconds)))


class Backlog:
    """What is under way, as one process sees it."""

    def __init__(self, count: Count, time: Callable[[], datetime], bounds: Bounds) -> None:
        self._count = count
        self._time = time
        self._bounds = bounds
        self._used = _Seen(-math.inf, datetime.min.replace(tzinfo=UTC))
        self._next: _Seen | None = None
        self._looking: asyncio.Task[None] | None = None
        self._open = Counter[TenantId]()
        self._per_second = 0.0

    @asynccontextmanager
    async def room(self, tenant_id: TenantId) -> AsyncIterator[Callable[[], None]]:
        """Room for one request of the tenant while it is served; call what is given once it is taken in. Raises TooMuch."""
        await self._look_if_old()
        self._require(tenant_id)
        self._open[tenant_id] += 1
        try:
            yield lambda: self._taken_in(tenant_id)
        finally:
            self._open[tenant_id] -= 1
            if not self._open[tenant_id]:
                del self._open[tenant_id]

    def _require(self, tenant_id: TenantId) -> None:
        most = self._bounds.at(self._per_second)
        over = self._used.total + self._open.total() - most
        if over >= 0:
            _refused.labels("platform").inc()
            raise TooMuch(self._retry_after_s(over + most // 10), tenant=False)
        tenant_most = max(1, int(most * self._bounds.share))
        over = self._used.under_way[tenant_id] + self._open[tenant_id] - tenant_most
        if over >= 0:
            _refused.labels("tenant").inc()
            raise TooMuch(self._retry_after_s(over + tenant_most // 10), tenant=True)

    def _retry_after_s(self, until_done: int) -> int:
        """Until so many are done at the speed of late, a tenth of the bound at least: else all would come back to fight for one place."""
        return min(RETRY_AFTER_MAX_S, max(1, math.ceil(until_done / self._per_second))) if self._per_second > 0 else RETRY_AFTER_MAX_S // 10

    def _taken_in(self, tenant_id: TenantId) -> None:
        self._used.add(tenant_id)
        if self._next is not None:
            # Whether the count that is under way sees it nobody knows: rather once too often.
            self._next.add(tenant_id)

    async def _look_if_old(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._used.at_s <= FRESH_S:
            return
        if self._next is None:
            self._next = _Seen(now_s, self._time())
            self._looking = asyncio.create_task(self._look(self._next), name="backlog counted")
        if self._looking is not None and now_s - self._used.at_s > USABLE_S:
            await asyncio.wait((self._looking,), timeout=LOOK_MAX_S)

    async def _look(self, seen: "_Seen") -> None:
        try:
            counted = await self._count.count(seen.at, self._used.at, self._bounds.most + 1)
            self._learn_speed(counted, seen)
            seen.found(counted.under_way)
        except (SQLAlchemyError, *DRIVER_ERRORS, OSError) as error:
            # Then it is the orders' own transactions that fail, and say so.
            _log.warning("cannot count what is under way; nothing is refused for it", extra={"error": repr(error)})
        finally:
            self._used, self._next = seen, None
            _under_way.set(seen.total)

    def _learn_speed(self, counted: Counted, seen: "_Seen") -> None:
        took_s = seen.at_s - self._used.at_s
        if took_s > LEARNED_WITHIN_S:
            return  # What happened in so long a time says nothing of how fast it goes now.
        # Of what was under way the last time, whoever took it in; what came and went since then is not seen, and not missed.
        done = self._used.before - (sum(counted.under_way.values()) - counted.newer)
        self._per_second += (max(0, done) / took_s - self._per_second) * (_SMOOTH if self._per_second else 1)


class _Seen:
    """What was under way when it was counted, and what this process has taken in since the counting began."""

    def __init__(self, at_s: float, at: datetime) -> None:
        self.at_s = at_s
        self.at = at
        self.under_way = Counter[TenantId]()
        self.before = 0
        """As it was counted."""
        self.total = 0

    def add(self, tenant_id: TenantId) -> None:
        self.under_way[tenant_id] += 1
        self.total += 1

    def found(self, numbers: Mapping[TenantId, int]) -> None:
        self.under_way.update(numbers)
        self.before = sum(numbers.values())
        self.total += self.before


def backlog_of(sweeper_pool: AsyncEngine, settings: Settings) -> Backlog:
    """Of the platform's orders, with its bounds as they are set."""
    bounds = Bounds(settings.backlog_min, settings.backlog_max, settings.backlog_s, settings.backlog_tenant_share)
    return Backlog(OrdersUnderWay(sweeper_pool), clock.now, bounds)


@asynccontextmanager
async def room_in(backlog: Backlog | None, tenant_id: TenantId) -> AsyncIterator[Callable[[], None]]:
    """As `Backlog.room`; without a backlog there always is room."""
    if backlog is None:
        yield lambda: None
        return
    async with backlog.room(tenant_id) as taken_in:
        yield taken_in
