"""Opens what a service needs in one process (pools, broker, relay, sweeper) and closes it in the right order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from faststream.rabbit import RabbitBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from infra import clock
from infra.database import open_pool
from infra.outbox import Outbox
from infra.relay import Relay
from infra.settings import Settings
from infra.sweeper import Sweeper
from infra.transaction import Transactions
from infra.unscoped import ConfirmedRows, OverdueRows


@dataclass(frozen=True)
class Runtime:
    """One service's open parts."""

    transaction: Transactions
    relay: Relay
    sweeper: Sweeper
    overdue: OverdueRows
    app_pool: AsyncEngine
    sweeper_pool: AsyncEngine


@asynccontextmanager
async def open_runtime(service: str, publisher: RabbitBroker, settings: Settings) -> AsyncIterator[Runtime]:
    """The service's parts around a broker connection for publishing; on leaving, what was committed is published first."""
    app = open_pool(settings, service, "app", settings.pool_connections)
    relaying = open_pool(settings, service, "relay", 1)
    sweeping = open_pool(settings, service, "sweeper", 2)
    relay = Relay(service, publisher, ConfirmedRows(service, relaying), settings)
    outbox = Outbox(service, settings.resend_after_s)
    transaction = Transactions(service, app, outbox, relay, clock.now)
    overdue = OverdueRows(service, sweeping, settings.resend_after_s)
    sweeper = Sweeper(transaction, relay, overdue, settings)
    sweep = asyncio.create_task(sweeper.run(), name=f"{service} sweeper")
    try:
        yield Runtime(transaction, relay, sweeper, overdue, app, sweeping)
    finally:
        sweep.cancel()
        await asyncio.gather(sweep, return_exceptions=True)
        await relay.drain(settings.drain_s)
        for pool in (app, relaying, sweeping):
            await pool.dispose()
