"""What services tell about their books, in one vocabulary, so that the operators' desk can compare them. Nothing here knows what is right.

A service that keeps books has a module `reconciling` with a value BOOKS: what it keeps about some orders, which of its own totals do
not add up, and what can be mended. It reads and mends its own schema only, one tenant at a time, in its own transactions and as its own
role. What a mend sends stays in the service's outbox until its own processes sweep that.
"""

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from contracts.addresses import COORDINATOR, PARTICIPANTS
from contracts.catalog import name_of
from contracts.messages import Envelope, Later, Message, Reply
from contracts.values import TenantId
from infra import clock
from infra.database import open_pool
from infra.handling import Handles
from infra.identifiers import uuid7
from infra.outbox import Outbox, Outgoing
from infra.services import MODULES
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from infra.unscoped.tenants import KnownTenants

KEEPERS: Final = (*PARTICIPANTS, COORDINATOR)
"""The services that keep books."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one order stands in one book of a service."""

    subject: UUID
    """The order."""
    book: str
    state: str
    changed_at: datetime
    id: str = ""
    """What it is found by, if that is not the order."""
    was: str = ""
    """Where it came from, if that decides who ends it; of a saga its version."""
    pence: int = 0
    goods: str = ""
    """Units by SKU, sorted, in the same words in every service."""
    by_card: bool = False
    command: str = ""
    """What an operator types next, if it waits for one."""


class Subject(NamedTuple):
    """An order that a service has something to tell about, in the order in which services select it."""

    order_id: UUID
    is_at_rest: bool
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance:
    """A total of a service that is not the sum of what it is made of: read in one statement, so both are of one moment."""

    book: str
    key: str
    stored: str
    counted: str
    changed_at: datetime
    lacks_refunds: bool = False
    """Of the ledger: mending it enters refunds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be mended: an order as all books have it, or the key of an imbalance."""

    key: str
    lines: Sequence[Line]
    reason: str

    @property
    def order_id(self) -> UUID:
        return UUID(self.key)


class NothingToMend(Exception):
    """It is not, or not any more, as it was when this was asked for; the message says how it is."""


async def no_totals(_scope: Scope) -> list[Imbalance]:
    """What a service tells that keeps none, or whose tables check them."""
    return []


@dataclass(frozen=True)
class Books:
    """What a service tells and mends."""

    kept_in: str
    """A table whose tenants are those that the service has anything about, with its schema in front."""
    subjects: Callable[[Scope, datetime, int], Awaitable[list[Subject]]]
    """At most so many orders that have not come to rest here, or have moved since; those that have not come to rest first."""
    lines: Callable[[Scope, Sequence[UUID]], Awaitable[list[Line]]]
    mends: Mapping[str, Callable[[Scope, Case], Awaitable[str]]]
    """Name -> what mends it in the scope's transaction and says what it did; raises NothingToMend."""
    imbalances: Callable[[Scope], Awaitable[list[Imbalance]]] = no_totals


@dataclass(frozen=True)
class Keeper:
    """A service with its books, its transactions and the tenants it knows."""

    books: Books
    transaction: Transactions
    tenants: KnownTenants


Keepers = Mapping[str, Keeper]


@asynccontextmanager
async def open_keepers(settings: Settings) -> AsyncIterator[Keepers]:
    """Every service that keeps books, each through connections as its own roles; they are closed on leaving."""
    async with AsyncExitStack() as stack:
        found = {}
        for service in KEEPERS:
            app, sweeper = open_pool(settings, service, "app", 1), open_pool(settings, service, "sweeper", 1)
            stack.push_async_callback(app.dispose)
            stack.push_async_callback(sweeper.dispose)
            books: Books = importlib.import_module(f"{MODULES[service]}.reconciling").BOOKS
            transaction = Transactions(service, app, Outbox(service, settings.resend_after_s), _leave_it_to_the_sweeper, clock.now)
            found[service] = Keeper(books, transaction, KnownTenants(books.kept_in, sweeper))
        yield found


def _leave_it_to_the_sweeper(outgoing: Sequence[Outgoing]) -> None:
    """No relay of that service runs here: its own processes find these rows in its outbox."""


async def known_tenants(keepers: Keepers) -> list[TenantId]:
    """Every tenant that any of them has anything about, sorted."""
    found: set[TenantId] = set()
    for keeper in keepers.values():
        found |= await keeper.tenants.all()
    return sorted(found)


async def by_use_case(scope: Scope, table: Sequence[Handles], message: Message) -> Reply | Later | None:
    """Decide the message as the service's consumer would, in this transaction; nobody has asked, so nobody is answered."""
    [handles] = [one for one in table if type(message) in one.decide]
    source, type_ = f"/{scope.service}", name_of(type(message))
    received = Envelope(id=uuid7(scope.now), source=source, type=type_, subject="", time=scope.now, tenantid=scope.tenant_id, data=message)
    state = await handles.repository.load(scope, [received])
    reply = handles.decide[type(message)](received, state)
    await handles.repository.save(scope, state)
    return reply
