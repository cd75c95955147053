"""What a service is to the process that runs it: a name, a table of use cases, a router, and what else it does all the time."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.consumer import Consumer
from infra.handling import Handles
from infra.retention import Forgets
from infra.settings import Settings
from infra.topology.shards import Shards
from infra.transaction import Transactions

if TYPE_CHECKING:
    from fastapi import APIRouter


async def _as_it_should() -> None:
    """A broker in a test without one."""


@dataclass(frozen=True)
class Running:
    """A service's parts in a running worker, for what it does beside consuming."""

    transaction: Transactions
    consumers: Sequence[Consumer]
    sweeper_pool: AsyncEngine
    settings: Settings
    backlog: Callable[[str], Coroutine[Any, Any, int]] = field(repr=False)
    """Messages that wait in a queue right now."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is about to end: nothing new is to be begun."""
    expect_it_takes_messages: Callable[[], Coroutine[Any, Any, None]] = field(default=_as_it_should, repr=False)
    """Raises Outage unless the broker takes messages now."""
    shards: Shards = field(default_factory=Shards)
    """Of which there are queues on the broker: as many as this process writes to, or more."""


@dataclass(frozen=True)
class Service:
    """`name` is its schema, the prefix of its roles and of its queues."""

    name: str
    handles: Callable[[Settings], Sequence[Handles]]
    api: str | None = None
    """Module with `router(transaction, settings)`; imported only by the process that serves it, since workers start quicker without."""
    admits: bool = False
    """`router` takes the sweeper's pool as well, to see how much is under way."""
    background: Callable[[Running], Coroutine[Any, Any, None]] | None = None
    finishes: bool = False
    """Once `stopping` is set, `background` ends by itself when what it has begun is finished; any other is cancelled."""
    forgets: Sequence[Forgets] = ()
    """What is too old some day, beside the messages it has handled."""
    operators: str | None = None
    """Module with `router(transaction, sweeper_pool, settings)`: routes for people who belong to no tenant."""

    def router(self, transaction: Transactions, settings: Settings, sweeper_pool: AsyncEngine | None = None) -> "APIRouter | None":
        """The service's HTTP routes around these transactions, if it has any. Without a pool nothing is refused for being too much."""
        if self.api is None:
            return None
        given = (transaction, settings, sweeper_pool) if self.admits else (transaction, settings)
        router: APIRouter = import_module(self.api).router(*given)
        return router

    def operators_router(self, transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> "APIRouter | None":
        """The service's routes for operators, if it has any; what they find across tenants they find as the sweeper."""
        if self.operators is None:
            return None
        router: APIRouter = import_module(self.operators).router(transaction, sweeper_pool, settings)
        return router


class UnknownService(LookupError):
    """No service of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no service {name!r}; there are {', '.join(known)}")
