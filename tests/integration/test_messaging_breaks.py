"""A message that breaks its connection each time, while the database is there for everybody else: that is no outage to wait out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from contracts import headers
from contracts.addresses import dead_letter_queue
from contracts.messages import Envelope
from contracts.values import OrderId, TenantId
from infra.transaction import Scope
from tests.integration.failing import Recording, inventory, one_batch, order_of, retried
from tests.integration.messaging import COMMANDS, REPLIES, Stage, items, reserve, working

DEAD: Final = dead_letter_queue(COMMANDS.routing_key)


class Breaking(Recording):
    """Loading this order ends the connection, as a statement does that crashes its server process."""

    def __init__(self, order_id: OrderId) -> None:
        super().__init__()
        self._order_id = order_id

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> None:
        await super().load(scope, received)
        if self._order_id in map(order_of, received):
            await scope.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_message_that_breaks_every_connection_ends_as_a_letter_and_holds_up_nobody(stage: Stage, tmp_path: Path) -> None:
    tenant_id = TenantId(uuid4())
    asks = [reserve(tenant_id) for _ in range(4)]
    settings = stage.settings.model_copy(update={"retries_max": 1, "breaks_max": 2, "backoff_s": 0.01})
    repository = Breaking(order_of(asks[1]))
    async with working(inventory(repository), settings, tmp_path):
        async with one_batch(stage, repository, COMMANDS):
            await stage.publish(COMMANDS, *asks)
        replies = items(await stage.read(REPLIES, 4))
        [letter] = await stage.read(DEAD, 1)
        [fault] = items(await stage.read(REPLIES, 1))
    assert {reply["commandid"] for reply in replies} >= {str(ask.id) for ask in asks} - {str(asks[1].id)}
    assert items([letter])[0]["id"] == str(asks[1].id)
    assert letter.headers[headers.ATTEMPT] == 2
    assert letter.headers[headers.EXCEPTION_TYPE] in ("OperationalError", "AdminShutdown")
    assert (fault["type"], fault["commandid"]) == ("sagas.StepFaulted.v1", str(asks[1].id))


class Cut(Recording):
    """Its connections are ended from outside, so many times."""

    left = 0

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> None:
        await super().load(scope, received)
        if self.left > 0:
            self.left -= 1
            await scope.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize("cuts", [1, 2, 3])
async def test_a_few_lost_connections_cost_no_attempt(stage: Stage, tmp_path: Path, cuts: int) -> None:
    repository = Cut()
    repository.left = cuts
    ask = reserve(TenantId(uuid4()))
    settings = stage.settings.model_copy(update={"backoff_s": 0.01})
    before = retried()
    async with working(inventory(repository), settings, tmp_path):
        await stage.publish(COMMANDS, ask)
        [reply] = items(await stage.read(REPLIES, 1))
    assert reply["commandid"] == str(ask.id)
    assert len(repository.at) == cuts + 1
    assert retried() == before
