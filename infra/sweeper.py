"""Sends again what is still in the outbox some time after it was committed: the crash case, and the broker's bad days.

Sending twice is harmless (the inbox knows the message), not sending is not. Ids are claimed across tenants, bodies are read
inside one tenant at a time.
"""

import asyncio
import logging
from typing import Final

from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError

from infra.clock import now
from infra.relay import Relay
from infra.retry import DRIVER_ERRORS
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.due import OverdueRows

_log: Final = logging.getLogger(__name__)
_oldest: Final = Gauge("oaas_outbox_oldest_seconds", "Age of the oldest message that the broker has not confirmed", ["service"])
_CLAIM_MAX: Final = 1_000


class Sweeper:
    """The sweeper of one service in one process; several may run, each row is claimed by one of them at a time."""

    def __init__(self, transaction: Transactions, relay: Relay, rows: OverdueRows, settings: Settings) -> None:
        self._transaction = transaction
        self._relay = relay
        self._rows = rows
        self._settings = settings

    async def run(self) -> None:
        """Sweep for ever, twice in every `resend_after_s`. Nothing that the database says ends it: another sweep may succeed."""
        while True:
            try:
                # Not before the relay has room: what it does not take over is claimed again late.
                await self._relay.room()
                while await self.sweep() == _CLAIM_MAX:
                    await self._relay.room()
                oldest = await self._rows.oldest()
                _oldest.labels(self._transaction.service).set((now() - oldest).total_seconds() if oldest else 0)
            except (SQLAlchemyError, *DRIVER_ERRORS, OSError) as error:
                _log.warning("this sweep failed, the next one tries again", extra={"error": repr(error)})
            await asyncio.sleep(self._settings.resend_after_s / 2)

    async def sweep(self) -> int:
        """Hand what is overdue to the relay once; returns how many rows were claimed."""
        claimed = await self._rows.claim(now(), _CLAIM_MAX)
        for tenant_id, rows in claimed.items():
            lost = [id for id, created_at in rows.items() if not self._relay.holds(tenant_id, id, created_at)]
            if lost:
                async with self._transaction(tenant_id) as scope:
                    outgoing = await self._transaction.outbox.read(scope.connection, tenant_id, lost)
                _log.info("sent again from the outbox", extra={"tenant": tenant_id, "count": len(outgoing)})
                self._relay(outgoing)
        return sum(len(rows) for rows in claimed.values())
