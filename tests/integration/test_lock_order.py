"""Whatever comes first in a batch: what its repositories lock, they lock in one order."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from contracts.inventory import OutOfStock, ReserveStock
from contracts.messages import Envelope
from contracts.orders import OrderCompleted
from contracts.values import OrderId, TenantId
from infra.batch import Batches
from infra.clock import now
from infra.handling import handles
from infra.settings import Settings
from infra.transaction import Scope
from services.inventory.consumers import HANDLES
from tests.conformance.places import opened
from tests.hearing import flights
from tests.integration.messaging import a_tenant, reserve


class Locking:
    """Notes that its turn has come."""

    def __init__(self, turns: list["Locking"]) -> None:
        self._turns = turns

    async def load(self, _scope: Scope, _received: Sequence[Envelope]) -> None:
        self._turns.append(self)

    async def save(self, scope: Scope, state: None) -> None: ...


@pytest.mark.parametrize("order", [1, -1])
async def test_repositories_of_a_batch_lock_in_the_order_of_the_table(settings: Settings, order: int) -> None:
    turns: list[Locking] = []
    first, second = Locking(turns), Locking(turns)
    tenant_id = TenantId(uuid4())
    completed = OrderCompleted(order_id=OrderId(uuid4()))
    about: dict[str, Any] = {"source": "/orders", "type": "orders.OrderCompleted.v1", "subject": "x", "time": now()}
    envelopes = [reserve(tenant_id), Envelope(id=uuid4(), tenantid=tenant_id, data=completed, **about)][::order]

    def hear(_event: OrderCompleted, _state: Any) -> None: ...

    def decide(_command: ReserveStock, _state: Any) -> OutOfStock:
        return OutOfStock()

    table = (handles(first, ReserveStock.answered_by(decide)), handles(second, OrderCompleted.heard_by(hear)))
    async with opened(settings, "inventory") as transaction:
        await Batches(transaction, table).commit(envelopes)
    assert turns == [first, second]


async def test_a_batch_of_many_tenants_makes_two_round_trips(settings: Settings) -> None:
    async with opened(settings, "inventory") as transaction:
        tenants = [await a_tenant(transaction) for _ in range(20)]
        # The pool's connection that was used last is used next.
        async with transaction(tenants[0]) as scope:
            wire = scope.connection._wire
        with flights(wire) as round_trips:
            await Batches(transaction, HANDLES).commit([reserve(tenant_id) for tenant_id in tenants])
    assert len(round_trips) == 2, round_trips
