"""Simulated participants on the real broker: they answer what a coordinator asks, and remember their answers as the real ones do."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from contracts.addresses import PARTICIPANTS, address_of, queues_of
from contracts.catalog import name_of, owner_of
from contracts.messages import Command, Envelope, Event, Message, Refusal, Reply
from contracts.orders import OrderCancelRequested, OrderPlaced
from contracts.values import OrderId, OrderLine, ShopId, TenantId
from infra import clock
from infra.frames import CONTENT_TYPE, decode, encode

Decide = Callable[[Envelope], Reply | None]
"""What is answered to a command; None for silence."""
_MADE_UP: Final = UUID(int=7)


def success_of(command: Command[Any]) -> Reply:
    """The answer of a participant that did what it was asked."""
    success = next(reply for reply in command.replies() if not issubclass(reply, Refusal))
    return success.model_validate(dict.fromkeys(success.model_fields, _MADE_UP))


def agree(envelope: Envelope) -> Reply | None:
    """Everything succeeds."""
    assert isinstance(envelope.data, Command)
    return success_of(envelope.data)


@dataclass
class Participants:
    """All of them. `came` says when each command arrived, the first time first."""

    channel: AbstractChannel
    decide: Decide = agree
    came: dict[UUID, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Envelope] = field(default_factory=list)
    _answers: dict[UUID, Envelope] = field(default_factory=dict)

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Answer one frame of commands with one frame of replies for each participant."""
        at = clock.now()
        commands = [command for command in decode(message.body) if isinstance(command, Envelope)]
        for command in commands:
            self.came[command.id].append(at)
        self.asked += commands
        await self.answer(commands)

    async def answer(self, commands: Iterable[Envelope]) -> None:
        """Answer these commands, but for those that are met with silence."""
        replies: dict[str, list[Envelope]] = defaultdict(list)
        for command in commands:
            if (answer := self._answer(command)) is not None:
                replies[owner_of(type(command.data))].append(answer)
        for writer, answers in replies.items():
            await self.send(writer, answers)

    async def send(self, writer: str, envelopes: Iterable[Envelope]) -> None:
        """Publish these as that service does, in one frame."""
        held = list(envelopes)
        address = address_of(type(held[0].data), held[0].tenantid, writer)
        exchange = await self.channel.get_exchange(address.exchange, ensure=False)
        body = encode([one.model_dump_json(exclude_none=True) for one in held])
        await exchange.publish(aio_pika.Message(body, content_type=CONTENT_TYPE, message_id=str(uuid4())), address.routing_key)

    def _answer(self, command: Envelope) -> Envelope | None:
        if command.id not in self._answers:
            reply = self.decide(command)
            if reply is None:
                return None
            self._answers[command.id] = reply_to(command, reply)
        return self._answers[command.id]


@asynccontextmanager
async def participants(rabbitmq_url: str, decide: Decide = agree) -> AsyncIterator[Participants]:
    """All participants, reading their queues."""
    async with await aio_pika.connect(rabbitmq_url, client_properties={"connection_name": "client"}) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=200)
        found = Participants(channel, decide)
        consumed = []
        for name in (queue for service in PARTICIPANTS for queue in queues_of(service) if ".commands." in queue):
            queue = await channel.get_queue(name, ensure=False)
            consumed.append((queue, await queue.consume(found.take, no_ack=True)))
        yield found
        for queue, tag in consumed:
            await queue.cancel(tag)


def reply_to(command: Envelope, reply: Reply) -> Envelope:
    """The reply as a participant sends it."""
    return enveloped(command.tenantid, reply, command.subject, sagaid=command.sagaid, causationid=command.id, commandid=command.id)


def order_placed(tenant_id: TenantId) -> Envelope:
    """An order of one unit."""
    order = OrderId(uuid4())
    placed = OrderPlaced(
        order_id=order, shop_id=ShopId(uuid4()), lines=(OrderLine(sku="oats", quantity=1),), total=100, placed_at=clock.now()
    )
    return enveloped(tenant_id, placed, str(order))


def cancel_requested(tenant_id: TenantId) -> Envelope:
    """Somebody wants to cancel an order."""
    order = OrderId(uuid4())
    return enveloped(tenant_id, OrderCancelRequested(order_id=order, reason="test", paid=True), str(order))


def enveloped(tenant_id: TenantId, message: Message, subject: str, **more: Any) -> Envelope:
    """The message in an envelope of its own."""
    at, source = clock.now(), f"/{owner_of(type(message))}"
    return Envelope(
        id=uuid4(), source=source, type=name_of(type(message)), subject=subject, time=at, tenantid=tenant_id, data=message, **more
    )


async def begin(sent_by: Participants, events: list[Envelope]) -> None:
    """Publish the events in frames of fifty."""
    assert all(isinstance(event.data, Event) for event in events)
    for first in range(0, len(events), 50):
        await sent_by.send("orders", events[first : first + 50])


async def eventually(is_so: Callable[[], bool], otherwise: Callable[[], str], within_s: float = 60) -> None:
    """Poll until it is so; fails after `within_s` with what was seen instead."""
    end = asyncio.get_running_loop().time() + within_s
    while not is_so():
        assert asyncio.get_running_loop().time() < end, otherwise()
        await asyncio.sleep(0.02)
