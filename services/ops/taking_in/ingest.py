"""Drains every dead-letter queue into the desk's tables: insert, commit, then ack. Nothing is browsed in the broker.

It takes what has been delivered, up to a bound, into one transaction. What is delivered again, because this process died or its
connection broke between commit and ack, is known by the id of its death and changes nothing; so any number of processes may drain at
once. A letter that cannot be stored as it is harms no other: it is stored as a husk, and if even that fails it is left with the broker.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aio_pika import IncomingMessage
from aio_pika.exceptions import AMQPError
from faststream.rabbit import Channel, RabbitBroker

from contracts.addresses import dead_letter_queue, shard_in, work_queues
from contracts.values import TenantId
from infra.broker import close, connect, open_broker
from infra.clock import now
from infra.consumer import attempted
from infra.crash import crash_point
from infra.retry import Ending, ending_of, while_out_of_reach
from infra.service import Running
from infra.topology import topology
from infra.unscoped.letters import LetterSearch
from services.ops.desk.metrics import NEW_FINGERPRINTS, REPLAYS_FAILED, TAKEN_IN
from services.ops.desk.model import Death
from services.ops.taking_in.intake import take_in
from services.ops.taking_in.opening import Arrived, Opened, husk, open_letters

_log: Final = logging.getLogger(__name__)
_PATIENCE_S: Final = 60.0
_LETTERS_MAX: Final = 250
"""Messages in one transaction."""
_BYTES_MAX: Final = 16_000_000
"""A transaction takes no further message once those that it has are larger than this together."""
_TRIES_MAX: Final = 5
"""Tries of messages that fail in passing together, before they are tried by halves."""
_SET_ASIDE_S: Final = 60.0
"""How long a message is left alone that cannot be stored at all."""
_FINGERPRINTS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Held:
    """A message that is to be acked once it is stored."""

    message: IncomingMessage
    arrived: Arrived


async def ingest(running: Running) -> None:
    """Drain for ever, on a connection of its own; raises Misconfigured if there is no broker for a minute at the start."""
    draining = Ingest(running)
    broker = open_broker(running.settings, on_lost=draining.forget)
    try:
        await connect(broker, running.settings, patience_s=_PATIENCE_S)
        count = running.shards.count
        for queue in work_queues(count):
            _subscribe(draining, broker, queue, running.settings.prefetch_frames)
        await broker.start()
        async with asyncio.TaskGroup() as both:
            both.create_task(_drain_more(draining, broker, running, count))
            both.create_task(draining.run())
    finally:
        await close(broker)


class Ingest:
    """What one process drains."""

    def __init__(self, running: Running) -> None:
        self._transaction = running.transaction
        self._settings = running.settings
        self._search = LetterSearch(running.sweeper_pool)
        self._waiting: deque[_Held] = deque()
        self._arrived = asyncio.Event()
        self._known: set[str] = set()
        self._set_aside: list[tuple[float, _Held]] = []

    def take(self, message: IncomingMessage, queue: str) -> None:
        """Queue a message; the prefetch limit bounds how many there can be."""
        self._waiting.append(_Held(message, Arrived(queue, message.body, message.headers, message.message_id)))
        self._arrived.set()

    def forget(self) -> None:
        """The connection is gone: the broker will deliver again what was not acked."""
        self._waiting.clear()
        self._set_aside.clear()

    async def run(self) -> None:
        """Store and ack, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SET_ASIDE_S if self._set_aside else None):
                    await self._arrived.wait()
            self._waiting.extend(held for until, held in self._set_aside if until <= time.monotonic())
            self._set_aside = [(until, held) for until, held in self._set_aside if until > time.monotonic()]
            if held := self._next():
                crash_point(self._transaction.service, "consume")
                await self._store(held)
            if not self._waiting:
                self._arrived.clear()

    def _next(self) -> list[_Held]:
        taken: list[_Held] = []
        size = 0
        while self._waiting and len(taken) < _LETTERS_MAX and size < _BYTES_MAX:
            taken.append(self._waiting.popleft())
            size += len(taken[-1].arrived.body)
        return taken

    async def _store(self, held: Sequence[_Held]) -> None:
        """Commit all and ack them; if that cannot be, halves, down to the one that cannot be stored as it is."""
        at = now()
        error = await self._attempt(lambda: [letter for one in held for letter in open_letters(one.arrived, at)])
        if error is not None and len(held) > 1:
            await self._store(held[: len(held) // 2])
            await self._store(held[len(held) // 2 :])
            return
        if error is not None and ending_of(error) is Ending.BUG:
            _log.error("a dead letter cannot be stored as it is", exc_info=error, extra={"queue": held[0].arrived.queue})
            error = await self._attempt(lambda: [husk(held[0].arrived, at)])
        if error is not None:
            _log.error("a dead letter cannot be stored, left with the broker", exc_info=error, extra={"queue": held[0].arrived.queue})
            self._set_aside.append((time.monotonic() + _SET_ASIDE_S, held[0]))
            return
        for one in held:
            await self._ack(one)

    async def _attempt(self, opening: Callable[[], Sequence[Opened]]) -> Exception | None:
        """Open them, and one transaction for all; None if it is committed, else why not. Outages are waited out here."""
        tries = 0
        while (error := await attempted(self._commit(opening))) is not None:
            tries += 1
            ending = ending_of(error)
            if ending is Ending.BUG or tries >= _TRIES_MAX:
                return error
            if ending is Ending.OUTAGE:
                _log.warning("database out of reach, dead letters wait", extra={"error": repr(error)})
            await asyncio.sleep(self._settings.backoff_s)
            async for attempt in while_out_of_reach(self._settings):
                with attempt:
                    async with self._transaction.batch():
                        pass
        return None

    async def _commit(self, opening: Callable[[], Sequence[Opened]]) -> None:
        opened = opening()
        causes = {one.letter.fingerprint for one in opened} - self._known
        new = causes - await self._search.known(causes) if causes else set()
        by_tenant: dict[TenantId, list[Opened]] = {}
        for one in opened:
            by_tenant.setdefault(one.letter.tenant_id, []).append(one)
        fresh: list[Death] = []
        async with self._transaction.batch() as batch:
            for tenant_id, own in sorted(by_tenant.items()):
                async with batch.scope(tenant_id) as scope:
                    fresh += await take_in(scope, own)
        self._count(opened, fresh, new)
        if len(self._known) > _FINGERPRINTS_MAX:
            self._known.clear()
        self._known |= causes

    def _count(self, opened: Sequence[Opened], fresh: Sequence[Death], new: set[str]) -> None:
        queues = {one.death.id: one.letter.queue for one in opened}
        for death in fresh:
            TAKEN_IN.labels(queues[death.id]).inc()
            if death.replay_id is not None:
                REPLAYS_FAILED.inc()
        for fingerprint in sorted(new & {death.fingerprint for death in fresh}):
            NEW_FINGERPRINTS.inc()
            _log.warning("messages die of something new", extra={"fingerprint": fingerprint, "count": len(fresh)})

    async def _ack(self, held: _Held) -> None:
        crash_point(self._transaction.service, "ack")
        try:
            await held.message.ack()
        except (AMQPError, OSError, RuntimeError) as error:  # the connection is gone: the letter comes again, and is known
            _log.info("ack came too late", extra={"queue": held.arrived.queue, "error": repr(error)})


async def _drain_more(draining: Ingest, broker: RabbitBroker, running: Running, known: int) -> None:
    """Drain the queues of the shards that come while this process runs, for ever."""
    while True:
        before, known = known, await running.shards.beyond(known)
        for queue in work_queues(known):
            if shard_in(queue) >= before:
                await _subscribe(draining, broker, queue, running.settings.prefetch_frames).start()


def _subscribe(draining: Ingest, broker: RabbitBroker, queue: str, prefetch: int) -> Any:
    # A channel of its own with a bound for each: a queue that is full holds up no other.
    subscriber = broker.subscriber(
        topology.work_queue(dead_letter_queue(queue)), channel=Channel(prefetch_count=prefetch), decoder=_undecoded, no_reply=True
    )

    @subscriber
    async def on_letter(_body: bytes) -> None:
        draining.take(broker.context.get_local("message").raw_message, queue)

    return subscriber


async def _undecoded(message: Any) -> bytes:
    body: bytes = message.body
    return body
