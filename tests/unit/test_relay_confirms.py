"""What becomes of a message that the broker does not confirm, and of a letter that only the broker can keep."""

import asyncio
import logging
from typing import Any, Final, cast

import pytest
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelInvalidStateError
from faststream.exceptions import IncorrectState
from faststream.rabbit import RabbitBroker
from pamqp.commands import Basic

from contracts.addresses import dead_letter_address
from infra.deliveries import Delivery, arrivals
from infra.errors import Outage
from infra.parking import Parking
from infra.relay import NotTaken, Relay
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.due import ConfirmedRows

QUEUE: Final = "inventory.commands.0"
SETTINGS: Final = Settings(backoff_s=0.01, outage_backoff_max_s=0.01)
LOST: Final = (
    ChannelInvalidStateError(),
    RuntimeError("closed"),
    IncorrectState("not connected"),
    TimeoutError(),
    asyncio.CancelledError(),
)


class Broker:
    """The library's, failing in its ways before it confirms."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.published: list[bytes] = []

    async def publish(self, body: bytes, **_: Any) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.published.append(body)


def relay(broker: Broker) -> Relay:
    return Relay("inventory", cast(RabbitBroker, broker), cast(ConfirmedRows, None), SETTINGS)


@pytest.mark.parametrize("error", LOST, ids=repr)
async def test_a_lost_connection_is_an_outage_whatever_the_library_says(error: BaseException) -> None:
    with pytest.raises(Outage) as caught:
        await relay(Broker(error)).publish_confirmed(dead_letter_address(QUEUE), b"", {})
    assert not isinstance(caught.value, NotTaken)


async def test_who_is_cancelled_while_it_publishes_ends() -> None:
    class Waiting(Broker):
        async def publish(self, body: bytes, **_: Any) -> None:
            await asyncio.Event().wait()
            self.published.append(body)

    publishing = asyncio.create_task(relay(Waiting()).publish_confirmed(dead_letter_address(QUEUE), b"", {}))
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing


async def test_a_frame_that_cannot_be_read_is_put_away_once_the_broker_takes_it_and_nobody_dies_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Broker(*LOST, DeliveryError(None, Basic.Nack()))

    class Message:
        async def ack(self) -> None: ...

    [arrival] = arrivals(Delivery(Message(), b"junk", redelivered=False, id="1", headers={}))
    transaction = Transactions("inventory", cast(Any, None), cast(Any, None), lambda _: None, cast(Any, None))
    with caplog.at_level(logging.WARNING):
        await Parking(QUEUE, transaction, relay(broker), SETTINGS).park(arrival, ValueError("junk"), 1)
    assert broker.published == [b"junk"]
    assert caplog.text.count("a letter cannot be put away, consuming pauses") == len(LOST) + 1
