"""The one edge at which messages come in: frames from a queue to committed effects, then the ack.

It takes what is already delivered, up to a bound, into one transaction; it never waits to fill one. A batch that fails is bisected
until the one envelope that cannot be handled stands alone: that one is parked, with its story, and if it is a command its saga is
told in the same commit. An outage of the database pauses consuming and costs no attempt. No frame is acked before that.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from aio_pika.exceptions import AMQPError
from prometheus_client import Counter, Histogram

from contracts.messages import Envelope
from contracts.values import TenantId
from infra.batch import Batches
from infra.clock import now
from infra.crash import crash_point
from infra.frames import Unreadable, decode
from infra.parking import Parking
from infra.relay import Relay
from infra.retry import Ending, ending_of, while_out_of_reach
from infra.settings import Settings
from infra.suspects import KilledItsProcess, Suspects
from infra.transaction import Transactions

_log: Final = logging.getLogger(__name__)
_handled: Final = Counter("oaas_envelopes_handled_total", "Envelopes whose effect is committed", ["queue"])
_batch_size: Final = Histogram("oaas_batch_envelopes", "Envelopes in one transaction", buckets=(1, 2, 5, 10, 20, 50, 100, 250))
_AFTER_A_CRASH_S: Final = 0.05


class Acknowledgeable(Protocol):
    """A message of the broker, as much of it as the edge needs."""

    async def ack(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame as it came: `redelivered` says that somebody had it before and did not finish."""

    message: Acknowledgeable
    body: bytes
    redelivered: bool


class Consumer:
    """One work queue of one service in one process."""

    def __init__(self, queue: str, batches: Batches, transaction: Transactions, relay: Relay, settings: Settings) -> None:
        self.queue = queue
        self._parking = Parking(queue, transaction, relay, settings)
        self._batches = batches
        self._transaction = transaction
        self._relay = relay
        self._settings = settings
        self._service: Final = transaction.service
        self._suspects = Suspects(self._service)
        self._waiting: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.interruptions = 0
        self.handled = 0

    def take(self, delivery: Delivery) -> None:
        """Queue a frame; the prefetch limit bounds how many there can be."""
        self._waiting.append(delivery)
        self._idle.clear()
        self._arrived.set()

    def forget(self) -> None:
        """The connection is gone: the broker will deliver again what was not acked."""
        self.interruptions += 1
        self._waiting.clear()

    async def drain(self, within_s: float) -> None:
        """Wait until what was delivered is settled, at most `within_s`; the rest goes back to the queue."""
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("not drained in time, left to the next process", extra={"queue": self.queue, "count": len(self._waiting)})

    async def run(self) -> None:
        """Settle deliveries for ever."""
        while True:
            await self._arrived.wait()
            await self._relay.room()
            deliveries = self._next_deliveries()
            if deliveries and deliveries[0].redelivered:
                # After a crash there is no hurry: what comes back together is sorted, so that a killer goes last.
                await asyncio.sleep(_AFTER_A_CRASH_S)
                while self._waiting and self._waiting[0].redelivered:
                    deliveries.append(self._waiting.popleft())
            await self._settle(deliveries)
            if not self._waiting:
                self._arrived.clear()
                self._idle.set()

    def _next_deliveries(self) -> list[Delivery]:
        """Whole frames up to the bound, all of them new or all of them redelivered."""
        taken: list[Delivery] = []
        size = 0
        while self._waiting and (not taken or taken[0].redelivered == self._waiting[0].redelivered):
            # A comma between two objects counts envelopes without parsing: a bound need not be exact.
            size += 1 + self._waiting[0].body.count(b'},{"specversion"')
            if taken and size > self._settings.batch_envelopes_max:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _settle(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        crash_point(self._service, "consume")
        envelopes: list[Envelope] = []
        for delivery in deliveries:
            for item in decode(delivery.body):
                if isinstance(item, Unreadable):
                    await self._parking.park(item, item.error, attempt=1)
                else:
                    envelopes.append(item)
        if deliveries[0].redelivered:
            await self._one_by_one(envelopes)
        elif envelopes:
            await self._together(envelopes)
        crash_point(self._service, "ack")
        for delivery in deliveries:
            await self._ack(delivery)

    async def _ack(self, delivery: Delivery) -> None:
        try:
            await delivery.message.ack()
        except (AMQPError, OSError, RuntimeError) as error:  # the connection is gone: the frame comes again, and the inbox knows it
            _log.info("ack came too late", extra={"queue": self.queue, "error": repr(error)})

    async def _together(self, envelopes: Sequence[Envelope]) -> None:
        """Commit all; if that cannot be, halves, down to the one that fails alone."""
        error = await self._attempt(envelopes)
        if error is None:
            return
        if len(envelopes) > 1:
            middle = len(envelopes) // 2
            await self._together(envelopes[:middle])
            await self._together(envelopes[middle:])
        else:
            await self._again_or_park(envelopes[0], error)

    async def _one_by_one(self, envelopes: Sequence[Envelope]) -> None:
        """After a redelivery: each alone, marked before it is tried, those with most marks last."""
        deaths = await self._deaths(envelopes)
        for envelope in sorted(envelopes, key=lambda one: deaths.get(one.id, 0)):
            marks = await self._mark(envelope)
            if marks > self._settings.deaths_max:
                await self._parking.park(envelope, KilledItsProcess(marks - 1), attempt=marks)
            elif (error := await self._attempt([envelope], suspected=True)) is not None:
                await self._again_or_park(envelope, error)

    async def _again_or_park(self, envelope: Envelope, error: Exception) -> None:
        attempt = 1
        pause_s = self._settings.backoff_s
        while ending_of(error) is Ending.PASSING and attempt < self._settings.attempts_max and not _expired(envelope):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._settings.backoff_max_s)
            attempt += 1
            again = await self._attempt([envelope])
            if again is None:
                return
            error = again
        await self._parking.park(envelope, error, attempt)

    async def _attempt(self, envelopes: Sequence[Envelope], *, suspected: bool = False) -> Exception | None:
        """One transaction for all of them; None if it is committed, else why not. Outages are waited out here."""
        conflicts = 0
        while True:
            try:
                await self._batches.commit(envelopes, suspected=suspected)
            except Exception as error:  # noqa: BLE001 - the only place where any failure of a use case may arrive
                match ending_of(error):
                    case Ending.OUTAGE:
                        await self._wait_out(error)
                    case Ending.CONFLICT if conflicts < self._settings.attempts_max:
                        # Somebody else's transaction won; the same batch decides anew on what that one left.
                        conflicts += 1
                    case _:
                        return error
            else:
                self.handled += len(envelopes)
                _handled.labels(self.queue).inc(len(envelopes))
                _batch_size.observe(len(envelopes))
                return None

    async def _wait_out(self, error: Exception) -> None:
        self.interruptions += 1
        _log.warning("database out of reach, consuming pauses", extra={"queue": self.queue, "error": repr(error)})
        async for attempt in while_out_of_reach(self._settings):
            with attempt:
                async with self._transaction.batch():
                    pass

    async def _deaths(self, envelopes: Iterable[Envelope]) -> dict[UUID, int]:
        found: dict[UUID, int] = {}
        by_tenant: dict[TenantId, list[Envelope]] = {}
        for envelope in envelopes:
            by_tenant.setdefault(envelope.tenantid, []).append(envelope)
        for tenant_id, group in sorted(by_tenant.items()):
            async for attempt in while_out_of_reach(self._settings):
                with attempt:
                    async with self._transaction(tenant_id) as scope:
                        found |= await self._suspects.deaths(scope.connection, tenant_id, [envelope.id for envelope in group])
        return found

    async def _mark(self, envelope: Envelope) -> int:
        marks = 0
        async for attempt in while_out_of_reach(self._settings):
            with attempt:
                async with self._transaction(envelope.tenantid) as scope:
                    marks = await self._suspects.mark(scope.connection, envelope.tenantid, envelope.id, scope.now)
        return marks


def _expired(envelope: Envelope) -> bool:
    return envelope.expires is not None and envelope.expires <= now()
