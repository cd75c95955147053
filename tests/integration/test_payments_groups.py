"""Groups of commands to payments, taken in as a consumer does: as many statements for many as for one, the answers that come later too."""

from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest

from contracts.messages import Envelope, Reply
from contracts.payments import AuthorisePayment, CapturePayment, PaymentCaptured, PaymentReturned, ReturnPayment
from contracts.values import OrderId, TenantId
from infra import clock
from infra.batch import Batches
from infra.database import open_pool
from infra.deferred import Asked, Deferred
from infra.outbox import Outbox, Outgoing
from infra.settings import Settings
from infra.transaction import Transactions
from services.payments.consumers import HANDLES
from tests.hearing import heard, heard_on
from tests.integration.paying import a_command


class Desk:
    """Payments without a provider: its transactions, what it said to the database, and what it sent."""

    def __init__(self, settings: Settings) -> None:
        self.tenant_id = TenantId(uuid4())
        self.sent: list[Outgoing] = []
        self.pool = open_pool(settings, "payments", "app", 1)
        outbox = Outbox("payments", settings.resend_after_s)
        self.transaction = Transactions("payments", self.pool, outbox, lambda outgoing: self.sent.extend(outgoing), clock.now)
        self._batches = Batches(self.transaction, HANDLES)

    async def take(self, envelopes: Sequence[Envelope]) -> int:
        """Take these in as one group; returns how many statements that was."""
        async with self.transaction(self.tenant_id) as scope:
            wire = scope.connection._wire  # the pool's only one
        with heard_on(wire) as said:
            await self._batches.commit(envelopes)
        return len(said)

    async def waiting(self) -> int:
        async with self.transaction(self.tenant_id) as scope:
            return int(await scope.connection.fetchval("SELECT count(*) FROM payments.unanswered WHERE tenant_id = $1", self.tenant_id))

    def authorisations(self, orders: Sequence[OrderId]) -> list[Envelope]:
        return [a_command(self.tenant_id, AuthorisePayment(order_id=one, amount=5, token="tok_ok")) for one in orders]

    def returns(self, orders: Sequence[OrderId]) -> list[Envelope]:
        return [a_command(self.tenant_id, ReturnPayment(order_id=one)) for one in orders]


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    made = Desk(settings)
    yield made
    await made.pool.dispose()


async def test_a_large_group_that_is_answered_later_costs_as_many_statements_as_a_small_one(desk: Desk) -> None:
    async def asked_and_returned(count: int) -> tuple[int, int]:
        orders = [OrderId(uuid4()) for _ in range(count)]
        asked = await desk.take(desk.authorisations(orders))
        assert await desk.waiting() == count
        returned = await desk.take(desk.returns(orders))
        assert await desk.waiting() == 0
        return asked, returned

    # A connection's first statements also look up the array types.
    for _ in range(2):
        await asked_and_returned(2)
    few, many = await asked_and_returned(1), await asked_and_returned(50)
    assert few == many
    assert 5 < max(many) <= 12


async def test_what_is_asked_for_and_given_back_in_one_group_is_answered_in_it(desk: Desk) -> None:
    orders = [OrderId(uuid4()) for _ in range(3)]
    await desk.take([*desk.authorisations(orders), *desk.returns(orders)])
    assert await desk.waiting() == 0
    assert sorted("PaymentRefused" in one.body for one in desk.sent) == [False] * 3 + [True] * 3


async def test_a_card_that_was_never_called_for_is_not_kept(desk: Desk) -> None:
    order_id = OrderId(uuid4())
    await desk.take(desk.authorisations([order_id]))
    await desk.take(desk.returns([order_id]))
    async with desk.transaction(desk.tenant_id) as scope:
        row = await scope.connection.fetchrow("SELECT token, due_at FROM payments.payment WHERE order_id = $1", order_id)
    assert row == (None, None)


async def test_whoever_waits_for_several_answers_gets_them_with_one_look(desk: Desk) -> None:
    deferred, subject = Deferred("payments"), str(uuid4())
    order_id = OrderId(uuid4())
    await desk.take(desk.authorisations([order_id]))
    async with desk.transaction(desk.tenant_id) as scope:
        captured, returned = (a_command(desk.tenant_id, kind(order_id=order_id)) for kind in (CapturePayment, ReturnPayment))
        await deferred.note(scope, [captured.model_copy(update={"subject": subject}), returned])
    replies: dict[Asked, Reply] = {(CapturePayment, subject): PaymentCaptured(), (ReturnPayment, str(order_id)): PaymentReturned()}
    for expected in (2, 0):
        async with desk.transaction(desk.tenant_id) as scope:
            with heard(scope) as said:
                assert await deferred.answer_all(scope, replies) == expected
        assert len([one for one in said if "unanswered" in one]) == 1
    assert await desk.waiting() == 1, "the authorisation waits on"
