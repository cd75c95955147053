"""The chaos suite's doubling: whatever is published to a work queue comes out of it twice, and afterwards once again."""

import asyncio

import aio_pika
from aio_pika.abc import AbstractChannel

from contracts.addresses import Address
from tests.chaos.echo import LATER_MS, everything_twice
from tests.integration.messaging import COMMANDS, REPLIES, Stage

REPLY = Address("inventory.replies", REPLIES)


async def frames(channel: AbstractChannel, queue: str, within_s: float) -> list[bytes]:
    """What comes out of the queue in that time."""
    found = []
    reading = await channel.get_queue(queue)
    end = asyncio.get_running_loop().time() + within_s
    while asyncio.get_running_loop().time() < end:
        message = await reading.get(no_ack=True, fail=False)
        found += [message.body] if message is not None else []
        await asyncio.sleep(0.02)
    return found


async def publish(channel: AbstractChannel, address: Address, body: bytes) -> None:
    exchange = await channel.get_exchange(address.exchange)
    await exchange.publish(aio_pika.Message(body), routing_key=address.routing_key)


async def test_everything_comes_twice_until_the_end_and_then_once(stage: Stage) -> None:
    long_enough_s = 2 * max(LATER_MS.values()) / 1000
    async with everything_twice(stage.settings.rabbitmq_url):
        await publish(stage.client, COMMANDS, b"a command")
        await publish(stage.client, REPLY, b"a reply")
        assert await frames(stage.client, COMMANDS.routing_key, long_enough_s) == [b"a command"] * 2
        assert await frames(stage.client, REPLIES, long_enough_s) == [b"a reply"] * 2
    await publish(stage.client, COMMANDS, b"afterwards")
    assert await frames(stage.client, COMMANDS.routing_key, long_enough_s) == [b"afterwards"]
