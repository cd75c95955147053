"""Inventory's worker with use cases that fail as a test wants it, and a note of what was tried when."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from prometheus_client import REGISTRY

from contracts.addresses import Address
from contracts.inventory import OutOfStock, ReserveStock, StockReserved
from contracts.messages import Envelope
from contracts.orders import OrderCompleted
from contracts.values import OrderId, TenantId
from infra.errors import Retryable
from infra.handling import Handles, handles
from infra.service import Service
from infra.transaction import Scope
from services.inventory.main import SERVICE
from tests.integration.messaging import COMMANDS, Stage, reserve, until


class Recording:
    """A repository that loads nothing, and notes the orders of each group that it is given, and when.

    While `go_on` is not set, the first group waits, so that what comes meanwhile makes one batch.
    """

    def __init__(self) -> None:
        self.groups: list[list[OrderId]] = []
        self.at: list[float] = []
        self.tries = Counter[OrderId]()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def load(self, _scope: Scope, received: Sequence[Envelope]) -> None:
        self.groups.append([order_of(envelope) for envelope in received])
        self.tries.update(self.groups[-1])
        self.at.append(asyncio.get_running_loop().time())
        await self.go_on.wait()

    async def save(self, scope: Scope, state: None) -> None: ...


def retried(queue: str = COMMANDS.routing_key) -> float:
    """How many envelopes of the queue were put on the ladder in this process so far."""
    return REGISTRY.get_sample_value("oaas_envelopes_retried_total", {"queue": queue}) or 0.0


class Poison(ValueError):
    """A bug of a use case."""


class InPassing:
    """Fails in passing so many times for each of these orders, and then no more."""

    def __init__(self, *orders: OrderId, times: int = 1_000_000) -> None:
        self.left = dict.fromkeys(orders, times)

    def __call__(self, order_id: OrderId) -> None:
        if self.left.get(order_id, 0) > 0:
            self.left[order_id] -= 1
            raise Retryable("in a moment it will work")


def poisoned_by(poison: OrderId | None, error: type[Exception] = Poison) -> Callable[[OrderId], None]:
    """Raises on this order, each time."""

    def strike(order_id: OrderId) -> None:
        if order_id == poison:
            raise error(f"order {poison} is poison")

    return strike


def inventory(repository: Any, strike: Callable[[OrderId], None] = lambda _: None) -> Service:
    """Inventory, deciding with this repository, everything out of stock; `strike` sees each order first and may raise."""

    def decide(command: ReserveStock, _state: Any) -> StockReserved | OutOfStock:
        strike(command.order_id)
        return OutOfStock()

    def hear(event: OrderCompleted, _state: Any) -> None:
        strike(event.order_id)

    table: tuple[Handles, ...] = (handles(repository, ReserveStock.answered_by(decide), OrderCompleted.heard_by(hear)),)
    return Service(name="inventory", handles=lambda _settings: table, api=SERVICE.api)


def order_of(envelope: Envelope) -> OrderId:
    assert isinstance(envelope.data, ReserveStock | OrderCompleted)
    return envelope.data.order_id


@asynccontextmanager
async def one_batch(stage: Stage, repository: Recording, address: Address) -> AsyncIterator[None]:
    """Whatever is published to the service's queue in here, it takes as one batch (of each tenant one group)."""
    repository.go_on.clear()
    await stage.publish(address, reserve(TenantId(uuid4())))

    async def holds_the_first() -> bool:
        return bool(repository.groups)

    async def holds_all() -> bool:
        return not await stage.waiting(address.routing_key)

    await until(holds_the_first, lambda: "the worker takes nothing")
    yield
    await until(holds_all, lambda: "the worker does not prefetch")
    repository.groups.clear()
    repository.at.clear()
    repository.go_on.set()
