"""Processes of the platform that a test can let die: real consumers and connections, mortal in between.

A Crash ends the consumer's task where it stands: its transaction is rolled back, or was committed and nobody has been told, or was
published and not acked. What it had not acked is delivered again, to the consumer that is started next.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from faststream.rabbit import RabbitBroker
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.addresses import COORDINATOR, DESK, PARTICIPANTS
from contracts.messages import Envelope, Later, Reply
from infra.consumer import Consumer
from infra.database import open_pool
from infra.deliveries import Delivery
from infra.handling import Decide, Handles, Repository
from infra.relay import Relay
from infra.settings import Settings
from infra.transaction import Scope
from infra.unscoped.due import ConfirmedRows
from tests.integration.network import Crash, Faults, Frame

SERVICES: Final = (*PARTICIPANTS, COORDINATOR, DESK)
PATIENCE_S: Final = 60.0
CONNECTIONS: Final = 6
"""Per service and role: as many runs can go on at once."""


@dataclass(frozen=True)
class Pools:
    """Connections to the real database, for any number of runs."""

    settings: Settings
    app: dict[str, AsyncEngine]
    rows: dict[str, ConfirmedRows]
    """The relay's view of each service's outbox."""
    relay: dict[str, Relay]
    """Never connected: what is committed goes to the network of the run."""
    sweeper: AsyncEngine


@asynccontextmanager
async def pools(settings: Settings) -> AsyncIterator[Pools]:
    """Every role that a running platform connects as. Nobody waits for the disk: no run survives its process anyway."""
    async with AsyncExitStack() as opened:

        def pool(service: str, role: str) -> AsyncEngine:
            engine = open_pool(settings, service, role, CONNECTIONS)
            event.listen(engine.sync_engine, "connect", _hurry)
            opened.push_async_callback(engine.dispose)
            return engine

        app = {service: pool(service, "app") for service in SERVICES}
        rows = {service: ConfirmedRows(service, pool(service, "relay")) for service in SERVICES}
        relay = {service: Relay(service, RabbitBroker(), rows[service], settings) for service in SERVICES}
        yield Pools(settings, app, rows, relay, pool("sagas", "sweeper"))


def _hurry(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SET synchronous_commit = off")
    cursor.close()
    connection.commit()


@dataclass
class Mortal:
    """A repository whose process may die when all is saved and nothing committed."""

    inner: Repository[Any]
    faults: Faults

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Any:
        return await self.inner.load(scope, received)

    async def save(self, scope: Scope, state: Any) -> None:
        await self.inner.save(scope, state)
        self.faults.may_die()


def mortal(handles: Handles, faults: Faults) -> Handles:
    """The same use cases, some of which have a bug now and then or fail in passing, in a process that may die."""

    def breakable(use_case: Decide) -> Decide:
        def decide(received: Envelope, state: Any) -> Reply | Later | None:
            faults.may_break(received)
            faults.may_stumble()
            return use_case(received, state)

        return decide

    return Handles(Mortal(handles.repository, faults), {message: breakable(use_case) for message, use_case in handles.decide.items()})


@dataclass
class Delivered:
    """A frame in a consumer's hands."""

    frame: Frame
    faults: Faults
    acked: bool = False

    async def ack(self) -> None:
        self.faults.may_die()
        self.acked = True


@dataclass
class Process:
    """The consumer of one queue, started anew whenever it has died."""

    start: Callable[[], Consumer]
    _consumer: Consumer | None = None
    _running: asyncio.Task[None] | None = None

    async def settle(self, frames: Sequence[Frame], faults: Faults) -> list[Frame]:
        """Deliver and wait; returns what was not acked, because the process has died."""
        if self._consumer is None or self._running is None:
            self._consumer = self.start()
            self._running = asyncio.create_task(self._consumer.run())
        delivered = [Delivered(frame, faults) for frame in frames]
        for one in delivered:
            self._consumer.take(Delivery(one, one.frame.body, one.frame.redelivered, str(uuid4()), one.frame.headers))
        drained = asyncio.create_task(self._consumer.drain(PATIENCE_S))
        await asyncio.wait({drained, self._running}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            drained.cancel()
            died, self._running = self._running, None
            with suppress(Crash):
                died.result()
        else:
            assert all(one.acked for one in delivered), f"{self._consumer.queue} has not settled within {PATIENCE_S} s"
        return [one.frame for one in delivered if not one.acked]

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
