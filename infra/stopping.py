"""How a process ends: consumers are cancelled while what still comes in is taken, and nothing can keep it for ever."""

import asyncio
import logging
import os
import threading
from typing import Any, Final

from aio_pika.exceptions import AMQPError
from faststream.rabbit import RabbitBroker

_log: Final = logging.getLogger(__name__)
_CUT: Final = 70
"""Exit code of a process that was cut (EX_SOFTWARE)."""
_TURNS: Final = 20
"""Turns of the event loop in which all that was delivered reaches its handler: the libraries take four, and wait for nothing."""
_SETTLING_S: Final = 0.3
"""A quorum queue takes some 32 acks at a time, each time with an fsync; those that still wait when the connection closes are lost."""


async def cancel_consumers(broker: RabbitBroker, within_s: float) -> None:
    """Have the broker deliver nothing more, and let what it has delivered reach its handler. Out of reach, there is nothing to cancel.

    What the queue has given to the consumer while the broker takes note of the cancel never reaches us: the broker puts it back, marked
    as redelivered (a race in quorum queues, measured). No process has had it in hand.
    """
    try:
        async with asyncio.timeout(within_s):
            await asyncio.gather(*(_cancel(subscriber) for subscriber in broker.subscribers))
    except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
        _log.warning("the broker does not say that it has stopped delivering", extra={"error": repr(error)})
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def acks_settled() -> None:
    """Wait until the queues have taken the last acks; the broker says nothing about them."""
    await asyncio.sleep(_SETTLING_S)


async def _cancel(subscriber: Any) -> None:
    # Not its own stop(): that one first refuses what comes in, and whatever was delivered until the cancel is confirmed would go back.
    queue, tag = subscriber._queue_obj, subscriber._consumer_tag
    if queue is not None and tag is not None and not queue.channel.is_closed:
        await queue.cancel(tag)


class Cut:
    """Ends the process by force `after_s` seconds from now, unless it is `off` by then: as a SIGKILL does, which loses nothing."""

    def __init__(self, after_s: float) -> None:
        # A thread: the event loop may be what hangs.
        self._timer = threading.Timer(after_s, self._end, (after_s,))
        self._timer.daemon = True
        self._timer.start()

    def off(self) -> None:
        self._timer.cancel()

    @staticmethod
    def _end(after_s: float) -> None:
        _log.error("not ended within %g s of being told to; cut", after_s)
        os._exit(_CUT)
