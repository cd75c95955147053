"""Forgets what nobody needs any more: which messages a service has handled, old suspicions, and what else a service names.

A walk goes through each table page by page, in statements that look at a bounded number of pages, with a pause after each, on a
connection of its own that is open for the walk only. So it costs what there is to look at, whatever there is to delete. Several
processes may walk: only one of them does at a time, and neither waits for anybody. Nothing in the outbox is ever too old: its rows
go when the broker has confirmed them.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Counter
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.clock import now
from infra.database import open_pool
from infra.retry import DRIVER_ERRORS, Ending, ending_of
from infra.settings import Settings
from infra.unscoped.due import OldRows

_log: Final = logging.getLogger(__name__)
_forgotten: Final = Counter("oaas_rows_forgotten_total", "Rows deleted because they were too old", ["table"])
_LOCKED: Final = "55P03"
_FIRST_WITHIN_S: Final = 3600.0
"""The longest wait before the first walk of a process."""


@dataclass(frozen=True)
class Forgets:
    """Rows of a table of the service that are too old `keep_days(settings)` days after the time in `column`."""

    table: str
    column: str
    keep_days: Callable[[Settings], int]
    only: str = "true"
    """A condition in SQL that a row must fulfil as well; the sweeper's role must be able to read what it names."""


MESSAGES: Final = (
    Forgets("inbox", "received_at", lambda settings: settings.inbox_keep_days),
    Forgets("suspect", "marked_at", lambda settings: settings.inbox_keep_days),
)
"""What every service forgets."""


class Retention:
    """The walks of one service in one process."""

    def __init__(self, service: str, forgets: Sequence[Forgets], settings: Settings) -> None:
        self._service = service
        self._forgets = (*MESSAGES, *forgets)
        self._settings = settings

    async def run(self) -> None:
        """Walk for ever. Nothing that the database says ends it: another walk may succeed."""
        # Not all processes at once, and not while they start; but soon, or what is deployed every day would never get round to it.
        await asyncio.sleep(random.uniform(0, min(self._settings.retention_every_s, _FIRST_WITHIN_S)))  # noqa: S311 - spread, not secret
        while True:
            try:
                await self.walk()
            except (SQLAlchemyError, *DRIVER_ERRORS, OSError) as error:
                _log.warning("old rows are not forgotten now, the next walk tries again", extra={"error": repr(error)})
            await asyncio.sleep(self._settings.retention_every_s)

    async def walk(self) -> int:
        """Go through every table once; returns how many rows were deleted."""
        pool = open_pool(self._settings, self._service, "sweeper", 1)
        try:
            return sum([await self._through(one, pool) for one in self._forgets])
        finally:
            await pool.dispose()

    async def _through(self, one: Forgets, pool: AsyncEngine) -> int:
        table = f"{self._service}.{one.table}"
        rows = OldRows(table, one.column, pool, one.only)
        before = now() - timedelta(days=one.keep_days(self._settings))
        total = 0
        for first in range(0, await rows.pages(), self._settings.retention_pages):
            deleted = await self._delete(rows, before, first)
            if deleted is None:
                break
            total += deleted
            _forgotten.labels(table).inc(deleted)
            await asyncio.sleep(self._settings.retention_pause_s)
        if total:
            _log.info("forgotten", extra={"table": table, "count": total})
        return total

    async def _delete(self, rows: OldRows, before: datetime, first: int) -> int | None:
        try:
            return await rows.delete(before, first, first + self._settings.retention_pages)
        except DBAPIError as error:
            if ending_of(error) not in (Ending.CONFLICT, Ending.PASSING) and getattr(error.orig, "sqlstate", "") != _LOCKED:
                raise
            # Somebody holds one of the rows, or the statement took too long: these pages are left to the next walk.
            _log.info("pages left out", extra={"first": first, "error": repr(error)})
            return 0
