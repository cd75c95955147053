"""Publishes what was committed, from memory, and deletes its outbox rows once the broker has confirmed.

One task per destination: it takes whatever waits, up to a bound, as one frame, and what arrives while that frame awaits its
confirm becomes the next one. So frames are one envelope when idle and grow under load; nothing ever waits to fill a frame.
In an outage it waits and tries again; what the broker refuses is left to the sweeper, which finds it in the outbox.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import uuid4

from aio_pika.exceptions import AMQPError, DeliveryError
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, ConnectionFrameError
from faststream.exceptions import FastStreamException
from faststream.rabbit import RabbitBroker
from pamqp.common import FieldValue
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy.exc import SQLAlchemyError

from contracts.addresses import Address
from contracts.headers import COUNT
from contracts.values import TenantId
from infra.crash import crash_point
from infra.errors import Outage
from infra.frames import CONTENT_TYPE, encode
from infra.outbox import Outgoing
from infra.retry import DRIVER_ERRORS
from infra.settings import Settings
from infra.unscoped.due import ConfirmedRows, OutboxRow

_log: Final = logging.getLogger(__name__)
_published: Final = Counter("oaas_envelopes_published_total", "Envelopes that the broker has confirmed", ["service"])
_frame_size: Final = Histogram("oaas_frame_envelopes", "Envelopes in a published frame", buckets=(1, 2, 5, 10, 20, 50, 100))
_waiting: Final = Gauge("oaas_envelopes_unpublished", "Envelopes handed over and not yet confirmed", ["service"])
_DELETE_AFTER_S: Final = 1.0
_THE_FRAMES_OWN_FAULT: Final = (DeliveryError, ConnectionFrameError, ChannelNotFoundEntity, ChannelPreconditionFailed)
"""Unroutable, refused, too large, or for an exchange that does not exist: at once again it would only hurt its neighbours."""


class NotTaken(Outage):
    """The broker is there and will not take this message now: its queue is full, or missing, or it is too large."""


class Relay:
    """The relay of one service in one process. It is the HandOver of the service's transactions."""

    def __init__(self, service: str, broker: RabbitBroker, rows: ConfirmedRows, settings: Settings) -> None:
        self._service = service
        self._broker = broker
        self._rows = rows
        self._settings = settings
        self._queues: dict[Address, deque[Outgoing]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[Address] = set()
        # About to be deleted; in the order in which they were confirmed.
        self._confirmed: dict[OutboxRow, None] = {}
        self._deleting = False
        self._hastens = asyncio.Event()
        # Each with the time since when, by the event loop's clock, the earliest first. What is sent again under its id is another.
        self._in_hand: dict[tuple[TenantId, str, datetime | None], float] = {}
        self._room = asyncio.Event()
        self._room.set()

    def __call__(self, outgoing: Sequence[Outgoing]) -> None:
        """Take these over. Above `unpublished_max` they stay in the outbox, for the sweeper."""
        for one in outgoing:
            if len(self._in_hand) >= self._settings.unpublished_max:
                self._room.clear()
                return
            self._in_hand.setdefault((one.tenant_id, one.id, one.created_at), asyncio.get_running_loop().time())
            self._queues.setdefault(one.address, deque()).append(one)
            if one.address not in self._busy:
                self._busy.add(one.address)
                self._start(self._publish_all(one.address))
        _waiting.labels(self._service).set(len(self._in_hand))

    def holds(self, tenant_id: TenantId, id: str, created_at: datetime | None) -> bool:
        """Whether the envelope of the row that was written then is on its way already, or has arrived and is about to be deleted."""
        row = tenant_id, id, created_at
        return row in self._in_hand or row in self._confirmed

    def waiting_s(self) -> float:
        """For how long the oldest envelope in hand has waited for what the broker says to it; 0 if there is none."""
        return asyncio.get_running_loop().time() - next(iter(self._in_hand.values())) if self._in_hand else 0

    async def room(self) -> None:
        """Return once fewer than `unpublished_max` envelopes wait; consuming pauses here when the broker is slow."""
        await self._room.wait()

    async def drain(self, within_s: float) -> None:
        """Wait for everything in hand to be confirmed and deleted, at most `within_s`; the outbox keeps the rest for the sweeper."""
        self._hastens.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish_all(self, address: Address) -> None:
        queue = self._queues[address]
        try:
            while queue:
                frame = self._next_frame(queue)
                published = False
                try:
                    published = await self._publish(address, frame)
                finally:
                    self._release(frame, published)
        finally:
            self._busy.discard(address)

    def _next_frame(self, queue: deque[Outgoing]) -> list[Outgoing]:
        frame = [queue.popleft()]
        size = len(frame[0].body)
        # A letter with headers of its own travels alone, because headers belong to the AMQP message.
        while queue and not frame[0].headers and not queue[0].headers and len(frame) < self._settings.frame_envelopes_max:
            size += len(queue[0].body)
            if size > self._settings.frame_bytes_max:
                break
            frame.append(queue.popleft())
        return frame

    async def _publish(self, address: Address, frame: Sequence[Outgoing]) -> bool:
        """Publish until it is confirmed; False if the broker will not take it, which the sweeper tries again later."""
        crash_point(self._service, "publish", frame)
        headers: dict[str, FieldValue] = {COUNT: len(frame), **(frame[0].headers or {})}
        # What is no envelope is no frame either: it goes out as it once came in.
        body = encode([one.body for one in frame]) if headers[COUNT] else frame[0].body.encode()
        pauses = self._pauses()
        while True:
            story = {"queue": address.routing_key, "count": len(frame)}
            try:
                await self.publish_confirmed(address, body, headers)
            except NotTaken as error:
                _log.warning("not taken by the broker, left to the sweeper", extra={**story, "error": str(error)})
                return False
            except Outage as error:
                # What waits here goes out as soon as it is over, before any deadline counts again.
                _log.warning("not published yet", extra={**story, "error": str(error)})
            else:
                crash_point(self._service, "confirmed", frame)
                return True
            await asyncio.sleep(next(pauses))

    def _pauses(self) -> Iterator[float]:
        pause_s = self._settings.backoff_s
        while True:
            yield pause_s
            pause_s = min(2 * pause_s, self._settings.outage_backoff_max_s)

    async def publish_confirmed(self, address: Address, body: bytes, headers: dict[str, FieldValue]) -> None:
        """Publish one message and wait for its confirm; raises NotTaken if the broker refuses it, Outage if it says nothing."""
        try:
            await self._publish_once(address, body, headers)
        except _THE_FRAMES_OWN_FAULT as error:
            raise NotTaken(repr(error)) from error
        except (AMQPError, FastStreamException, OSError, TimeoutError, RuntimeError) as error:
            raise Outage(repr(error)) from error
        except asyncio.CancelledError as error:
            # A connection lost by a missed heartbeat cancels pending publishes although nobody cancelled this task.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Outage(repr(error)) from error

    async def _publish_once(self, address: Address, body: bytes, headers: dict[str, FieldValue]) -> None:
        # The library ignores its own timeout argument. The message id is fresh: two publishes in flight with one id swap results.
        async with asyncio.timeout(self._settings.publish_timeout_s):
            await self._broker.publish(
                body,
                exchange=address.exchange,
                routing_key=address.routing_key,
                mandatory=True,
                persist=True,
                content_type=CONTENT_TYPE,
                message_id=str(uuid4()),
                headers=headers,
            )

    def _release(self, frame: Sequence[Outgoing], published: bool) -> None:
        for one in frame:
            self._in_hand.pop((one.tenant_id, one.id, one.created_at), None)
        if len(self._in_hand) < self._settings.unpublished_max:
            self._room.set()
        _waiting.labels(self._service).set(len(self._in_hand))
        if published:
            _published.labels(self._service).inc(len(frame))
            _frame_size.observe(len(frame))
            self._confirmed |= {(one.tenant_id, one.id, one.created_at): None for one in frame if one.created_at is not None}
            if not self._deleting:
                self._deleting = True
                self._start(self._delete_confirmed())

    async def _delete_confirmed(self) -> None:
        try:
            while self._confirmed:
                # Nobody waits for it: what is confirmed within a moment goes with one commit. A process that ends has no moment.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DELETE_AFTER_S):
                        await self._hastens.wait()
                await self._delete(list(self._confirmed))
        finally:
            self._deleting = False

    async def _delete(self, rows: Sequence[OutboxRow]) -> None:
        try:
            await self._rows.delete(rows)
        except (SQLAlchemyError, *DRIVER_ERRORS, OSError) as error:
            _log.warning("confirmed rows are not deleted; they will be sent again, which is harmless", extra={"error": repr(error)})
        finally:
            # If they are still there, the sweeper has to see to them.
            for row in rows:
                self._confirmed.pop(row, None)
