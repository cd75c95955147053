"""Waiting until sagas have ended, for the requests that asked to (`Prefer: wait`).

One poller per process asks for all of them together, one statement per tenant, and only while somebody waits. Between two
looks no connection is held. It looks often while orders end, more rarely while none does, and never spends more than a
tenth of its time on looking unless it has to.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from contracts.values import OrderId, TenantId
from infra.transaction import Transactions
from services.orders.order import Order
from services.orders.repository import settled_orders

_LOG: Final = logging.getLogger(__name__)

POLL_MIN_S: Final = 0.02
POLL_MAX_S: Final = 0.1
POLL_BUSY_MAX_S: Final = 0.5
"""Longest pause where looking itself takes long."""
_SLOWER: Final = 1.5
_IDLE_SHARE: Final = 9


class Waiting:
    """The requests of this process that wait for an order, and the poller that serves them."""

    def __init__(self, transaction: Transactions) -> None:
        self._transaction = transaction
        self._waiters: defaultdict[tuple[TenantId, OrderId], set[asyncio.Future[Order | None]]] = defaultdict(set)
        self._poller: asyncio.Task[None] | None = None
        self._pause_s = POLL_MIN_S

    async def settled(self, tenant_id: TenantId, order_id: OrderId, within_s: float) -> Order | None:
        """The order once it is neither PENDING nor CANCELLING; None when the time is up, or when nobody can tell.

        Cancelling the caller ends its wait.
        """
        key = (tenant_id, order_id)
        told: asyncio.Future[Order | None] = asyncio.get_running_loop().create_future()
        self._waiters[key].add(told)
        self._pause_s = POLL_MIN_S
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll(), name="orders waiting")
            self._poller.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(within_s):
                return await told
        except TimeoutError:
            return None
        finally:
            self._waiters[key].discard(told)
            if not self._waiters[key]:
                del self._waiters[key]

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            await asyncio.sleep(self._pause_s)
            began = loop.time()
            settled = await self._look()
            for key, order in settled.items():
                _tell(self._waiters.get(key, ()), order)
            calm_s = POLL_MIN_S if settled else min(self._pause_s * _SLOWER, POLL_MAX_S)
            busy_s = min(_IDLE_SHARE * (loop.time() - began), POLL_BUSY_MAX_S)
            self._pause_s = max(calm_s, busy_s)
        # At once, not in the callback: whoever comes in between has to start a new poller.
        self._poller = None

    async def _look(self) -> dict[tuple[TenantId, OrderId], Order]:
        watched: defaultdict[TenantId, list[OrderId]] = defaultdict(list)
        for tenant_id, order_id in self._waiters:
            watched[tenant_id].append(order_id)
        if not watched:
            return {}
        async with self._transaction.batch() as batch:
            return await settled_orders(batch, watched)

    def _ended(self, poller: asyncio.Task[None]) -> None:
        broken = None if poller.cancelled() else poller.exception()
        if broken is None and not poller.cancelled():
            return
        # The orders are placed all the same: whoever waits is told that the time is up, and the next one tries anew.
        self._poller = None
        _LOG.warning("cannot see whether orders have ended", exc_info=broken)
        for waiters in self._waiters.values():
            _tell(waiters, None)


def _tell(waiters: Iterable[asyncio.Future[Order | None]], order: Order | None) -> None:
    for told in waiters:
        if not told.done():
            told.set_result(order)
