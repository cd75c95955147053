"""The shards that there are: those that this process spreads tenants over, and those of processes with another OAAS_SHARDS.

Whoever writes uses the number in the settings; whoever reads reads every shard whose queues are on the broker, and goes on looking for
more. So the number may be changed while messages are on the way: an outbox, the retry ladder and a dead letter name the queue that
they were written for, and it is read for as long as it is there. Only people remove one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import aiormq
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import ChannelNotFoundEntity

from contracts.addresses import SHARDS, SHARDS_MAX, sign_of
from infra.errors import Misconfigured, in_words
from infra.settings import Settings
from infra.topology.management import management

_log: Final = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 10.0


class Shards:
    """How many shards there are, as far as this process knows: `count`. It only ever grows."""

    def __init__(self, count: int = SHARDS) -> None:
        self.count = count
        self._grown = asyncio.Condition()

    async def beyond(self, count: int) -> int:
        """Wait until there are more than so many; how many there are then."""
        async with self._grown:
            await self._grown.wait_for(lambda: self.count > count)
            return self.count

    async def grow(self, count: int) -> None:
        """There are so many."""
        async with self._grown:
            self.count = max(self.count, count)
            self._grown.notify_all()

    async def look(self, settings: Settings) -> None:
        """Count those that are on the broker now; raises Misconfigured if it does not say."""
        if settings.rabbitmq_management_url:
            async with management(settings) as found:
                await self.count_by(lambda queue: found.has("queues", queue))
        else:
            await self._look_over_amqp(settings)

    async def watch(self, settings: Settings) -> None:
        """Look again and again, for ever."""
        if not settings.rabbitmq_management_url:
            # Each look for what is not there would be an error in the broker's log: the next start finds it.
            await asyncio.Event().wait()
        async with management(settings) as found:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                try:
                    await self.count_by(lambda queue: found.has("queues", queue))
                except Misconfigured as error:
                    _log.info("cannot look for new shards now", extra={"error": str(error)})

    async def count_by(self, has: Callable[[str], Awaitable[bool]]) -> None:
        """Count those that there are, where `has` answers whether there is a queue of that name."""
        count = self.count
        while count < SHARDS_MAX and await has(sign_of(count)):
            count += 1
        if count > self.count:
            _log.info("there are %d shards", count)
            await self.grow(count)

    async def _look_over_amqp(self, settings: Settings) -> None:
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                # A connection of its own: on one that is used, a channel that the broker closes to say no is opened again to ask for ever.
                connection = await aiormq.connect(settings.rabbitmq_url)
                try:
                    await self.count_by(lambda queue: is_declared(connection, queue))
                finally:
                    await connection.close()
        except (AMQPError, OSError, TimeoutError) as error:
            raise Misconfigured(f"RabbitMQ at OAAS_RABBITMQ_URL does not say which queues there are: {in_words(error)}") from error


def shards_named(words: str) -> Callable[[int], bool]:
    """Which shards OAAS_CONSUMES names, as a question to a shard: `0,2-3` these, `4-` from there on, nothing all."""
    named = [word.partition("-") for word in words.split(",") if word]
    spans = [(int(first), int(last or SHARDS_MAX) if dash else int(first)) for first, dash, last in named]
    return lambda shard: not spans or any(first <= shard <= last for first, last in spans)


async def is_declared(connection: aiormq.abc.AbstractConnection, queue: str) -> bool:
    """Whether there is such a queue; each no is an error in the broker's log."""
    try:
        await (await connection.channel()).queue_declare(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    return True
