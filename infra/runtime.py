"""Opens what a service needs in one process (pools, broker, relay, sweeper) and closes it in the right order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import asyncpg
from faststream.rabbit import RabbitBroker
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.addresses import spread_over
from infra import clock
from infra.database import open_pool
from infra.errors import Misconfigured
from infra.outbox import Outbox
from infra.relay import Relay
from infra.retry import while_out_of_reach
from infra.settings import Settings
from infra.sweeper import Sweeper
from infra.transaction import Transactions
from infra.unscoped.due import ConfirmedRows, OverdueRows

_PATIENCE_S: Final = 60.0
_HAS_OUTBOX: Final = text("SELECT to_regclass(:outbox) IS NOT NULL")


@dataclass(frozen=True)
class Runtime:
    """One service's open parts."""

    transaction: Transactions
    relay: Relay
    sweep: asyncio.Task[None]
    """Runs for ever; if it ends, the process must end with it."""
    overdue: OverdueRows
    sweeper_pool: AsyncEngine
    app_pool: AsyncEngine
    """What `transaction` works on; beside it for looks into the catalog only."""


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
    await _require_schema(service, app, settings)
    sweep = asyncio.create_task(Sweeper(transaction, relay, overdue, settings).run(), name=f"{service} sweeper")
    try:
        with spread_over(settings.shards):
            yield Runtime(transaction, relay, sweep, overdue, sweeping, app)
    finally:
        sweep.cancel()
        await asyncio.gather(sweep, return_exceptions=True)
        await relay.drain(settings.drain_s)
        # A server that hangs does not say goodbye.
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.connect_timeout_s):
                await asyncio.gather(*(pool.dispose() for pool in (app, relaying, sweeping)))


async def _require_schema(service: str, pool: AsyncEngine, settings: Settings) -> None:
    """Wait for the database while it is out of reach; raise Misconfigured if it stays so, or has no such schema."""
    found = False
    try:
        async for attempt in while_out_of_reach(settings, at_most_s=_PATIENCE_S):
            with attempt:
                async with pool.connect() as connection:
                    found = bool((await connection.execute(_HAS_OUTBOX, {"outbox": f"{service}.outbox"})).scalar())
    except (SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
        raise Misconfigured(f"{service} cannot use its database: {error}; `oaas check postgres` says more") from error
    if not found:
        raise Misconfigured(f"the schema {service} is not there yet: run `oaas migrate`")
