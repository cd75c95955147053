"""What a service is to the process that runs it: a name, a table of use cases, a router, and what else it does all the time."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.consumer import Consumer
from infra.handling import Handles
from infra.settings import Settings
from infra.transaction import Transactions


@dataclass(frozen=True)
class Running:
    """A service's parts in a running worker, for what it does beside consuming."""

    transaction: Transactions
    consumers: Sequence[Consumer]
    sweeper_pool: AsyncEngine
    settings: Settings
    backlog: Callable[[str], Coroutine[Any, Any, int]] = field(repr=False)
    """Messages that wait in a queue right now."""


@dataclass(frozen=True)
class Service:
    """`name` is its schema, the prefix of its roles and of its queues."""

    name: str
    handles: Callable[[Settings], Sequence[Handles]]
    router: Callable[[Transactions, Settings], APIRouter]
    background: Callable[[Running], Coroutine[Any, Any, None]] | None = None


class UnknownService(LookupError):
    """No service of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no service {name!r}; there are {', '.join(known)}")
