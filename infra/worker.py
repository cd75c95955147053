"""A worker process: consumes the work queues of one or several services, of every shard there is, until it is told to stop.

Stopping: consumers are cancelled first, then what was delivered is settled and what else was begun is finished, then what was
committed is published, then connections close. So a rolling restart gives nothing back to the queues. Each part has its bound, and
so has the whole: whatever hangs in an outage is cut, as if the process had been killed, which loses nothing either.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final
from uuid import uuid4

from aio_pika import IncomingMessage
from aio_pika.exceptions import AMQPError
from faststream.rabbit import Channel

from contracts.addresses import queues_of, shard_in
from infra.batch import Batches
from infra.broker import close, connect, expect_it_takes_messages, open_broker
from infra.build import build
from infra.collecting import settle_down
from infra.consumer import Consumer
from infra.deliveries import Delivery
from infra.errors import Outage
from infra.retention import Retention
from infra.runtime import Runtime, open_runtime
from infra.scraping import scraped
from infra.service import Running, Service
from infra.settings import Settings
from infra.stopping import Cut, acks_settled, cancel_consumers
from infra.topology import topology
from infra.topology.shards import Shards, shards_named

_log: Final = logging.getLogger(__name__)
_PATIENCE_S: Final = 60.0


class Worker:
    """The consumers of some services in this process."""

    def __init__(self, services: Sequence[Service], settings: Settings) -> None:
        build()  # now: later the files may be those of the next release
        self._services = services
        self._settings = settings
        self._consumers: list[Consumer] = []
        self._shards = Shards(settings.shards)
        self._reads = shards_named(settings.consumes)
        self._consuming = open_broker(settings, on_lost=self._forget)
        self._publishing = open_broker(settings)
        self._stop = asyncio.Event()
        self._cut: Cut | None = None
        self._stopping = asyncio.Event()
        self._finishing: list[asyncio.Task[None]] = []
        self._consumes = False

    async def run(self) -> None:
        """Consume until SIGTERM or SIGINT; raises whatever ends a background task early."""
        working = asyncio.ensure_future(self._work())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave, working)
        try:
            await working
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        finally:
            if self._cut is not None:
                self._cut.off()

    def _leave(self, working: asyncio.Future[None]) -> None:
        self._stop.set()
        self._cut = self._cut or Cut(self._settings.stop_max_s)
        if not self._consumes:
            # Still waiting for its servers: there is nothing to finish.
            working.cancel()

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            stack.enter_context(scraped(self._settings))
            for broker in (self._publishing, self._consuming):
                stack.push_async_callback(close, broker)
                await connect(broker, self._settings, patience_s=_PATIENCE_S)
            await topology.prepare(self._publishing, self._settings)
            await self._shards.look(self._settings)
            runtimes = [await stack.enter_async_context(open_runtime(one.name, self._publishing, self._settings)) for one in self._services]
            tasks = [task for one, runtime in zip(self._services, runtimes, strict=True) for task in self._start(one, runtime)]
            tasks += [runtime.sweep for runtime in runtimes]
            tasks.append(asyncio.create_task(self._shards.watch(self._settings), name="shards"))
            self._consumes = True
            settle_down()
            await self._consuming.start()
            self._announce()
            await self._until_stopped(tasks)
            await self._drain(runtimes)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, service: Service, runtime: Runtime) -> list[asyncio.Task[None]]:
        # Two connections are left for what else a service does: its timers, its sweeper.
        batches = Batches(runtime.transaction, service.handles(self._settings), max(1, self._settings.pool_connections - 2))
        make = partial(Consumer, batches=batches, transaction=runtime.transaction, relay=runtime.relay, settings=self._settings)
        consumers = [make(queue) for queue in self._queues(service, 0)]
        for consumer in consumers:
            self._subscribe(consumer)
        self._consumers += consumers
        tasks = [asyncio.create_task(consumer.run(), name=consumer.queue) for consumer in consumers]
        more = self._read_more(service, self._shards.count, make, consumers)
        tasks.append(asyncio.create_task(more, name=f"{service.name} new shards"))
        tasks.append(asyncio.create_task(Retention(service.name, service.forgets, self._settings).run(), name=f"{service.name} retention"))
        if service.background is not None:
            takes = partial(expect_it_takes_messages, self._publishing, self._settings)
            known = runtime.transaction, consumers, runtime.sweeper_pool, self._settings
            running = Running(*known, self._backlog, self._stopping, takes, self._shards)
            tasks.append(asyncio.create_task(service.background(running), name=f"{service.name} background"))
            self._finishing += tasks[-1:] if service.finishes else []
        return tasks

    def _queues(self, service: Service, first: int) -> list[str]:
        """The work queues of the service that this process reads, from this shard on."""
        return [queue for queue in queues_of(service.name, self._shards.count) if shard_in(queue) >= first and self._reads(shard_in(queue))]

    async def _read_more(self, service: Service, known: int, make: Callable[[str], Consumer], consumers: list[Consumer]) -> None:
        """Read the shards that come while this process runs, for ever: somebody with another number writes to them."""
        async with asyncio.TaskGroup() as reading:
            while True:
                first, known = known, await self._shards.beyond(known)
                for consumer in map(make, self._queues(service, first)):
                    consumers.append(consumer)
                    self._consumers.append(consumer)
                    reading.create_task(consumer.run(), name=consumer.queue)
                    await self._subscribe(consumer).start()
                self._announce()

    def _subscribe(self, consumer: Consumer) -> Any:
        # A channel of its own with a bound: FastStream's default hands out everything there is.
        subscriber = self._consuming.subscriber(
            topology.work_queue(consumer.queue),
            channel=Channel(prefetch_count=self._settings.prefetch_frames),
            decoder=_undecoded,
            no_reply=True,
        )

        @subscriber
        async def on_frame(body: bytes) -> None:
            message = self._consuming.context.get_local("message")
            raw: IncomingMessage = message.raw_message
            consumer.take(Delivery(message, body, bool(raw.redelivered), raw.message_id or uuid4().hex, raw.headers))

        return subscriber

    async def _backlog(self, queue: str) -> int:
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                declared = await self._publishing.declare_queue(topology.work_queue(queue))
                result = await declared.declare()
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise Outage(f"RabbitMQ does not say how long {queue} is") from error
        return int(result.message_count or 0)

    def _forget(self) -> None:
        for consumer in self._consumers:
            consumer.forget()

    def _announce(self) -> None:
        _log.info("consuming %s", ", ".join(consumer.queue for consumer in self._consumers))
        if self._settings.ready_file is not None:
            self._settings.ready_file.write_text("ready\n")

    async def _until_stopped(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _drain(self, runtimes: Sequence[Runtime]) -> None:
        _log.info("stopping: no new messages are taken")
        self._stopping.set()
        await cancel_consumers(self._consuming, self._settings.connect_timeout_s)
        await asyncio.gather(*(consumer.drain(self._settings.drain_s) for consumer in self._consumers), self._finish())
        # All at once, so that stopping takes twice the bound at most, however many services run here.
        await asyncio.gather(acks_settled(), *(runtime.relay.drain(self._settings.drain_s) for runtime in runtimes))

    async def _finish(self) -> None:
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=self._settings.drain_s)


async def _undecoded(message: Any) -> bytes:
    body: bytes = message.body
    return body
