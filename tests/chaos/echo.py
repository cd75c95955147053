"""Every message comes twice: beside each work queue stands one that hears the same and hands it on to the work queue a moment later.

The broker does it, so neither a process that dies nor one that is down is spared the second copy. How long it takes depends on the
queue, so that second copies overtake first ones of others, and come after what they asked for was undone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aio_pika
from pamqp.common import FieldTable

from contracts.addresses import DEAD_LETTERS, REPLAYS, bindings, exchanges, work_queues

LATER_MS: Final = {"commands": 300, "replies": 700, "events": 1_500}


@asynccontextmanager
async def everything_twice(rabbitmq_url: str) -> AsyncIterator[None]:
    """From now on, until the end; what then still waits for its second time is dropped."""
    kinds = exchanges()
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        for name in work_queues():
            echo = await channel.declare_queue(_echo_of(name), durable=True, arguments=_back_to(name))
            for binding in bindings():
                if binding.queue == name and binding.exchange not in (DEAD_LETTERS, REPLAYS):
                    exchange = await channel.declare_exchange(binding.exchange, kinds[binding.exchange], durable=True)
                    await echo.bind(exchange, binding.routing_key)
    try:
        yield
    finally:
        async with await aio_pika.connect(rabbitmq_url) as connection:
            channel = await connection.channel()
            for name in work_queues():
                await channel.queue_delete(_echo_of(name))


def _echo_of(queue: str) -> str:
    return f"chaos.echo.{queue}"


def _back_to(queue: str) -> FieldTable:
    kind = queue.split(".")[1]
    return {"x-message-ttl": LATER_MS[kind], "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
