"""Connections to RabbitMQ. A process has two: under a memory or disk alarm the broker stops reading from connections that
publish, and acks must still get through on the other.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aio_pika.exceptions import AMQPError, DeliveryError
from faststream import AckPolicy
from faststream.exceptions import FastStreamException
from faststream.rabbit import Channel, RabbitBroker

from infra.errors import Misconfigured, Outage
from infra.settings import Settings

_log: Final = logging.getLogger(__name__)
_RECONNECT_S: Final = 0.5
_CLOSE_MAX_S: Final = 3.0
_NOBODY: Final = "nobody"
"""No queue has this name: what is published to it comes back."""


def _lost(error: BaseException | None, on_lost: Callable[[], None]) -> None:
    # A connection that we close ourselves ends with CancelledError, which is no Exception.
    if isinstance(error, Exception):
        _log.warning("RabbitMQ is lost; connecting again until it is back", extra={"error": repr(error)})
    on_lost()


def open_broker(settings: Settings, *, on_lost: Callable[[], None] = lambda: None) -> RabbitBroker:
    """A broker that is not connected yet; `on_lost` runs whenever its connection is lost."""
    if not settings.rabbitmq_url:
        raise Misconfigured("OAAS_RABBITMQ_URL is not set: start everything with `oaas up`, or give the URL of your RabbitMQ")
    return RabbitBroker(
        settings.rabbitmq_url,
        timeout=settings.connect_timeout_s,
        reconnect_interval=_RECONNECT_S,
        # Unroutable messages raise instead of vanishing, and each publish waits for its confirm.
        default_channel=Channel(publisher_confirms=True, on_return_raises=True),
        ack_policy=AckPolicy.MANUAL,
        # We drain ourselves, after cancelling the consumers: FastStream's order would redeliver what is prefetched.
        graceful_timeout=None,
        # Handlers take only the body; dependency injection would cost a thread hop per message.
        apply_types=False,
        logger=None,
        on_close=(lambda _connection, error=None: _lost(error, on_lost),),
        on_reconnected=(lambda _connection: _log.info("RabbitMQ is back"),),
    )


async def connect(broker: RabbitBroker, settings: Settings, *, patience_s: float) -> None:
    """Connect, and try again for `patience_s` while nobody answers; raises Misconfigured when that is over."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await broker.connect()
            return
        except (AMQPError, OSError, TimeoutError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Misconfigured(f"RabbitMQ at OAAS_RABBITMQ_URL does not answer: {error}; `oaas check rabbitmq` says more") from error
            _log.warning("RabbitMQ does not answer yet", extra={"error": error})
        await asyncio.sleep(_RECONNECT_S)


async def expect_it_takes_messages(broker: RabbitBroker, settings: Settings) -> None:
    """Raises Outage unless RabbitMQ takes messages now: under a memory or disk alarm it answers everything but publishers."""
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            # Two: an alarm lets one more message through on each connection before it stops reading from it.
            for _ in range(2):
                with suppress(DeliveryError):
                    await broker.publish(b"", routing_key=_NOBODY, mandatory=True)
    except (AMQPError, FastStreamException, OSError, TimeoutError, RuntimeError) as error:
        raise Outage("RabbitMQ takes no messages") from error


async def close(broker: RabbitBroker) -> None:
    """Close; a connection that is gone already is no error, and a broker that hangs does not say goodbye."""
    try:
        async with asyncio.timeout(_CLOSE_MAX_S):
            await broker.stop()
    except* (AMQPError, OSError, TimeoutError, RuntimeError) as errors:  # each of its channels may have its own
        _log.info("not closed cleanly", extra={"error": repr(errors)})
