"""The one edge at which messages come in: frames from a queue to committed effects, then the ack.

It takes what is already delivered, up to a bound, into one transaction; it never waits to fill one. A batch that fails is bisected
until the one envelope that cannot be handled stands alone: that one is parked, with its story, and if it is a command its saga is
told in the same commit. An outage of the database pauses consuming and costs no attempt. No frame is acked before that.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
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
    id: str
    """The AMQP message id, fresh for each publish."""


async def attempted(work: Awaitable[None]) -> Exception | None:
    """Do the work; None if that went well, else why not. The only place where any failure at all may arrive."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - one ladder, infra/retry.py, sorts them out
        return error
    return None


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
        self._held: set[str] = set()
        self._held_when_lost: frozenset[str] = frozenset()
        self.interruptions = 0
        self.handled = 0

    def take(self, delivery: Delivery) -> None:
        """Queue a frame; the prefetch limit bounds how many there can be."""
        if delivery.redelivered and delivery.id in self._held_when_lost:
            # It comes again because a connection was lost, not because it killed anybody: we held it, and we live.
            delivery = replace(delivery, redelivered=False)
        self._held.add(delivery.id)
        self._waiting.append(delivery)
        self._idle.clear()
        self._arrived.set()

    def forget(self) -> None:
        """The connection is gone: the broker will deliver again what was not acked."""
        self.interruptions += 1
        self._held_when_lost = frozenset(self._held)
        self._held.clear()
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
        decoded = [(delivery, list(decode(delivery.body))) for delivery in deliveries]
        crash_point(self._service, "consume", [item for _, inside in decoded for item in inside if isinstance(item, Envelope)])
        frames = [(delivery, await self._readable(inside)) for delivery, inside in decoded]
        if deliveries[0].redelivered:
            await self._one_by_one(frames)
            return
        if envelopes := [envelope for _, inside in frames for envelope in inside]:
            await self._together(envelopes)
        for delivery, inside in frames:
            await self._ack(delivery, inside)

    async def _readable(self, inside: Iterable[Envelope | Unreadable]) -> list[Envelope]:
        """The frame's envelopes; what is none is parked first."""
        envelopes = []
        for item in inside:
            if isinstance(item, Unreadable):
                await self._parking.park(item, item.error, attempt=1)
            else:
                envelopes.append(item)
        return envelopes

    async def _ack(self, delivery: Delivery, handled: Sequence[Envelope]) -> None:
        crash_point(self._service, "ack", handled)
        self._held.discard(delivery.id)
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

    async def _one_by_one(self, frames: Sequence[tuple[Delivery, list[Envelope]]]) -> None:
        """After a redelivery: each alone, marked before it is tried, those with most marks last; a frame is acked with its last one."""
        left = {id(delivery): len(inside) for delivery, inside in frames}
        deaths = await self._deaths([envelope for _, inside in frames for envelope in inside])
        singles = [(delivery, inside, envelope) for delivery, inside in frames for envelope in inside]
        for delivery, inside, envelope in sorted(singles, key=lambda single: deaths.get(single[2].id, 0)):
            marks = await self._mark(envelope)
            if marks > self._settings.deaths_max:
                await self._parking.park(envelope, KilledItsProcess(marks - 1), attempt=marks)
            elif (error := await self._attempt([envelope], suspected=True)) is not None:
                await self._again_or_park(envelope, error, suspected=True)
            left[id(delivery)] -= 1
            if not left[id(delivery)]:
                await self._ack(delivery, inside)
        for delivery, inside in frames:
            if not inside:
                await self._ack(delivery, inside)

    async def _again_or_park(self, envelope: Envelope, error: Exception, *, suspected: bool = False) -> None:
        attempt = 1
        pause_s = self._settings.backoff_s
        while ending_of(error) is not Ending.BUG and attempt < self._settings.attempts_max and not _expired(envelope):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._settings.backoff_max_s)
            attempt += 1
            again = await self._attempt([envelope], suspected=suspected)
            if again is None:
                return
            error = again
        await self._parking.park(envelope, error, attempt)

    async def _attempt(self, envelopes: Sequence[Envelope], *, suspected: bool = False) -> Exception | None:
        """One transaction for all of them; None if it is committed, else why not. Outages are waited out here."""
        conflicts = 0
        while (error := await attempted(self._batches.commit(envelopes, suspected=suspected))) is not None:
            match ending_of(error):
                case Ending.OUTAGE:
                    await self._wait_out(error)
                case Ending.CONFLICT if conflicts < self._settings.attempts_max:
                    # Somebody else's transaction won; the same batch decides anew on what that one left.
                    conflicts += 1
                case _:
                    return error
        self.handled += len(envelopes)
        _handled.labels(self.queue).inc(len(envelopes))
        _batch_size.observe(len(envelopes))
        return None

    async def _wait_out(self, error: Exception) -> None:
        self.interruptions += 1
        _log.warning("database out of reach, consuming pauses", extra={"queue": self.queue, "error": repr(error)})
        # A pause also when the probe below succeeds at once, so that what only looks like an outage cannot spin.
        await asyncio.sleep(self._settings.backoff_s)
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
