"""What a stranger can do on the broker: listen to every frame, deliver frames again."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from contracts.addresses import DEAD_LETTERS, bindings, exchanges, retry_queues
from contracts.messages import Envelope
from infra.frames import decode

_END: Final = b"end"
_END_MAX_S: Final = 10


@dataclass
class Tap:
    """Every frame that was published to a work queue since the tap was opened; `doubled` counts those delivered a second time."""

    frames: list[tuple[str, list[Envelope]]] = field(default_factory=list)
    doubled: int = 0
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    def sent_to(self, queue: str) -> list[Envelope]:
        """Every envelope that was published to this work queue."""
        return [envelope for to, envelopes in self.frames if to == queue for envelope in envelopes]


@asynccontextmanager
async def tap(rabbitmq_url: str, *, double: bool = False) -> AsyncIterator[Tap]:
    """Listen through second bindings until the end, when all that was published before is handled.

    `double`: put each frame into its work queue once more, past the exchange and so past us.
    """
    seen = Tap()
    work: dict[tuple[str, str], list[str]] = defaultdict(list)
    for binding in bindings():
        if binding.exchange != DEAD_LETTERS and binding.queue not in retry_queues():
            work[binding.exchange, binding.routing_key].append(binding.queue)
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        kinds = exchanges()
        queue = await channel.declare_queue(exclusive=True)
        for exchange, routing_key in work:
            await queue.bind(await channel.declare_exchange(exchange, kinds[exchange], durable=True), routing_key)

        async def on_frame(message: AbstractIncomingMessage) -> None:
            async with message.process():
                if message.body == _END:
                    seen.has_ended.set()
                for to in work[message.exchange or "", message.routing_key or ""]:
                    seen.frames.append((to, [item for item in decode(message.body) if isinstance(item, Envelope)]))
                    if double:
                        await _deliver(channel, to, message.body)
                        seen.doubled += 1

        await queue.consume(on_frame)
        yield seen
        # It comes out behind everything that went in before it, because this queue is handled one by one.
        await _deliver(channel, queue.name, _END)
        async with asyncio.timeout(_END_MAX_S):
            await seen.has_ended.wait()


async def deliver(rabbitmq_url: str, queue: str, body: bytes, *, instead: bool = False) -> None:
    """Put a frame into a work queue; `instead` of everything that waits there."""
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        if instead:
            await (await channel.get_queue(queue)).purge()
        await _deliver(channel, queue, body)


async def _deliver(channel: AbstractChannel, queue: str, body: bytes) -> None:
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, routing_key=queue)
