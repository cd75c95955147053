"""The one edge at which messages come in: frames from a queue to committed effects, then the ack.

It takes what is already delivered, up to a bound, into one transaction; it never waits to fill one. A batch that fails is bisected
until the one envelope that cannot be handled stands alone. Did it fail in passing, it waits on the retry ladder; else it is parked, with
its story, and if it is a command its saga is told in the same commit. An outage of the database pauses consuming and costs no attempt. No
frame is acked before that.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeGuard
from uuid import UUID

from aio_pika.exceptions import AMQPError
from prometheus_client import Counter, Histogram

from contracts.messages import Envelope
from contracts.values import TenantId
from infra.batch import Batches
from infra.crash import crash_point
from infra.deliveries import Arrival, Delivery, Replay, arrivals
from infra.frames import Unreadable
from infra.ladder import Ladder
from infra.parking import Parking
from infra.relay import Relay
from infra.retry import Ending, ending_of, while_out_of_reach
from infra.settings import Settings
from infra.suspects import KilledItsProcess, Marks
from infra.transaction import Transactions

_log: Final = logging.getLogger(__name__)
_handled: Final = Counter("oaas_envelopes_handled_total", "Envelopes whose effect is committed", ["queue"])
_redelivered: Final = Counter("oaas_frames_redelivered_total", "Frames that somebody had before and did not finish", ["queue"])
_batch_size: Final = Histogram("oaas_batch_envelopes", "Envelopes in one transaction", buckets=(1, 2, 5, 10, 20, 50, 100, 250))
_AFTER_A_CRASH_S: Final = 0.05


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
        self._ladder = Ladder(queue, transaction, settings)
        self._marks = Marks(transaction, settings)
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
        if delivery.redelivered:
            _redelivered.labels(self.queue).inc()
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
        opened = [(delivery, arrivals(delivery)) for delivery in deliveries]
        crash_point(self._service, "consume", _readable(arrival for _, inside in opened for arrival in inside))
        for arrival in (arrival for _, inside in opened for arrival in inside):
            if isinstance(arrival.envelope, Unreadable):
                await self._parking.park(arrival, arrival.envelope.error, arrival.tries + 1)
        frames = [(delivery, [arrival for arrival in inside if _is_readable(arrival)]) for delivery, inside in opened]
        if deliveries[0].redelivered:
            await self._one_by_one(frames)
            return
        if together := [arrival for _, inside in frames for arrival in inside]:
            await self._together(together)
        for delivery, inside in frames:
            await self._ack(delivery, inside)

    async def _ack(self, delivery: Delivery, handled: Sequence[Arrival[Envelope]]) -> None:
        crash_point(self._service, "ack", (arrival.envelope for arrival in handled))
        self._held.discard(delivery.id)
        try:
            await delivery.message.ack()
        except (AMQPError, OSError, RuntimeError) as error:  # the connection is gone: the frame comes again, and the inbox knows it
            _log.info("ack came too late", extra={"queue": self.queue, "error": repr(error)})

    async def _together(self, arrived: Sequence[Arrival[Envelope]]) -> None:
        """Commit all; if that cannot be, halves, down to the one that fails alone."""
        error = await self._attempt(arrived)
        if error is None:
            return
        if len(arrived) > 1:
            middle = len(arrived) // 2
            await self._together(arrived[:middle])
            await self._together(arrived[middle:])
        else:
            await self._later_or_park(arrived[0], error)

    async def _one_by_one(self, frames: Sequence[tuple[Delivery, list[Arrival[Envelope]]]]) -> None:
        """After a redelivery: each alone, marked before it is tried, those with most marks last; a frame is acked with its last one."""
        left = {id(delivery): len(inside) for delivery, inside in frames}
        marked = await self._marks.of(arrival.envelope for _, inside in frames for arrival in inside)
        singles = [(delivery, inside, arrival) for delivery, inside in frames for arrival in inside]
        for delivery, inside, arrival in sorted(singles, key=lambda single: marked.get(single[2].envelope.id, 0)):
            marks = await self._marks.add(arrival.envelope)
            if marks > self._settings.deaths_max:
                await self._parking.park(arrival, KilledItsProcess(marks - 1), arrival.tries + marks)
            elif (error := await self._attempt([arrival], suspected=True)) is not None:
                await self._later_or_park(arrival, error)
            left[id(delivery)] -= 1
            if not left[id(delivery)]:
                await self._ack(delivery, inside)
        for delivery, inside in frames:
            if not inside:
                await self._ack(delivery, inside)

    async def _later_or_park(self, arrival: Arrival[Envelope], error: Exception) -> None:
        if ending_of(error) is Ending.BUG or not await self._ladder.takes(arrival, error):
            await self._parking.park(arrival, error, arrival.tries + 1)

    async def _attempt(self, arrived: Sequence[Arrival[Envelope]], *, suspected: bool = False) -> Exception | None:
        """One transaction for all of them; None if it is committed, else why not. Outages are waited out here."""
        envelopes, replays = [arrival.envelope for arrival in arrived], _replays(arrived)
        conflicts = breaks = 0
        while (error := await attempted(self._batches.commit(envelopes, suspected=suspected, replays=replays))) is not None:
            match ending_of(error):
                case Ending.OUTAGE:
                    # If others are answered at once, it is this very batch that breaks its connection.
                    breaks = 0 if await self._waited_out(error) else breaks + 1
                    if breaks > self._settings.breaks_max:
                        return error
                case Ending.CONFLICT if conflicts < self._settings.conflicts_max:
                    # Somebody else's transaction won; the same batch decides anew on what that one left.
                    conflicts += 1
                case _:
                    return error
        self.handled += len(envelopes)
        _handled.labels(self.queue).inc(len(envelopes))
        _batch_size.observe(len(envelopes))
        return None

    async def _waited_out(self, error: Exception) -> bool:
        """Return once the database answers; whether it had to be waited for."""
        self.interruptions += 1
        looks = 0
        _log.warning("database out of reach, consuming pauses", extra={"queue": self.queue, "error": repr(error)})
        # A pause also when the probe below succeeds at once, so that what only looks like an outage cannot spin.
        await asyncio.sleep(self._settings.backoff_s)
        async for attempt in while_out_of_reach(self._settings):
            looks += 1
            with attempt:
                async with self._transaction.batch():
                    pass
        return looks > 1


def _is_readable(arrival: Arrival[Envelope | Unreadable]) -> TypeGuard[Arrival[Envelope]]:
    return isinstance(arrival.envelope, Envelope)


def _readable(arrived: Iterable[Arrival[Envelope | Unreadable]]) -> Iterable[Envelope]:
    return (arrival.envelope for arrival in arrived if isinstance(arrival.envelope, Envelope))


def _replays(arrived: Iterable[Arrival[Envelope]]) -> dict[tuple[TenantId, UUID], list[Replay]]:
    found: dict[tuple[TenantId, UUID], list[Replay]] = {}
    for arrival in arrived:
        if arrival.replay is not None:
            # Of two copies of one replay, the desk need not hear twice.
            told = found.setdefault((arrival.envelope.tenantid, arrival.envelope.id), [])
            told += [arrival.replay] if arrival.replay not in told else []
    return found
