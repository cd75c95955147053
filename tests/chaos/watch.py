"""Sees when orders become final, in the database and without asking the API a thousand times: the observer is no load."""

import asyncio
import time
from contextlib import suppress
from typing import Final
from uuid import UUID

import asyncpg

from infra.retry import DRIVER_ERRORS

_LOOK_EVERY_S: Final = 0.2
_TIMEOUT_S: Final = 5.0
_OPEN: Final = "SELECT order_id FROM orders.customer_order WHERE status IN ('PENDING', 'CANCELLING')"
OUT_OF_REACH: Final = (*DRIVER_ERRORS, OSError, TimeoutError)
"""What looking at a database says while somebody stops, kills and starts it."""


class Watch:
    """Looks again and again; while the database is away it sees nothing, and nothing becomes final."""

    def __init__(self, administrators_url: str) -> None:
        self._url = administrators_url
        self._waiting: dict[UUID, tuple[float, asyncio.Future[float]]] = {}
        self.open_orders = 0

    async def final(self, order_id: UUID) -> float:
        """Wait until the order, which exists, is neither PENDING nor CANCELLING; returns when that was seen."""
        if order_id not in self._waiting:
            self._waiting[order_id] = time.monotonic(), asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._waiting[order_id][1])

    async def run(self) -> None:
        """For ever."""
        while True:
            with suppress(*OUT_OF_REACH):
                connection = await asyncpg.connect(self._url, timeout=_TIMEOUT_S)
                try:
                    while True:
                        began = time.monotonic()
                        self._see({row["order_id"] for row in await connection.fetch(_OPEN, timeout=_TIMEOUT_S)}, began)
                        await asyncio.sleep(_LOOK_EVERY_S)
                finally:
                    connection.terminate()
            await asyncio.sleep(_LOOK_EVERY_S)

    def _see(self, unfinished: set[UUID], looked_at: float) -> None:
        self.open_orders = len(unfinished)
        for order_id, (since, seen) in list(self._waiting.items()):
            # A look that began before somebody asked may have missed what was decided since.
            if since < looked_at and order_id not in unfinished:
                seen.set_result(time.monotonic())
                del self._waiting[order_id]
