"""The only door to a session. What happens inside one scope belongs to one tenant; only this file commits.

    async with transaction(tenant_id) as scope:      one tenant: HTTP requests, timers, sweepers
    async with transaction.batch() as batch:         several tenants, strictly one after the other: the consumer
        async with batch.scope(tenant_id) as scope:

The tenant is set for the transaction only (a session-level setting would leak to the pool's next user), and every scope sets it
anew before its first statement. What a scope sends is in the outbox before the commit and in the relay's hands after it.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final, Protocol
from uuid import UUID

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from contracts.addresses import Address, address_of
from contracts.catalog import name_of
from contracts.messages import Envelope, Message
from contracts.values import SagaId, TenantId
from infra.crash import Carried, crash_point
from infra.identifiers import uuid7
from infra.outbox import Outbox, Outgoing
from infra.schema import TENANT_SETTING
from infra.telemetry import current_traceparent

_SET_TENANT: Final = f"SELECT set_config('{TENANT_SETTING}', $1, true)"


class HandOver(Protocol):
    """Takes what was committed, to publish it from memory. Never waits and never fails: the outbox has it all."""

    def __call__(self, outgoing: Sequence[Outgoing]) -> None: ...


@dataclass
class Scope:
    """One tenant inside an open transaction. `session` and `connection` are two ways to the same transaction."""

    tenant_id: TenantId
    now: datetime
    service: str
    connection: asyncpg.Connection
    _bind: AsyncConnection
    outgoing: list[Outgoing] = field(default_factory=list)

    @cached_property
    def session(self) -> AsyncSession:
        """SQLModel's session, for the API's single rows; the batch path uses `connection`."""
        return AsyncSession(bind=self._bind, expire_on_commit=False)

    def send(
        self,
        message: Message,
        *,
        subject: str,
        sequence: int | None = None,
        id: UUID | None = None,
        sagaid: SagaId | None = None,
        causationid: UUID | None = None,
        commandid: UUID | None = None,
        expires: datetime | None = None,
        traceparent: str | None = None,
        address: Address | None = None,
    ) -> Envelope:
        """Publish the message once this transaction has committed. Without an id it gets a new UUIDv7; `address` only a Question needs."""
        envelope = Envelope(
            id=id or uuid7(self.now),
            source=f"/{self.service}",
            type=name_of(type(message)),
            subject=subject,
            time=self.now,
            tenantid=self.tenant_id,
            sagaid=sagaid,
            causationid=causationid,
            commandid=commandid,
            expires=expires,
            sequence=sequence,
            traceparent=traceparent or current_traceparent(),
            data=message,
        )
        to = address or address_of(type(message), self.tenant_id, self.service)
        self.post(str(envelope.id), to, envelope.model_dump_json(exclude_none=True))
        return envelope

    def post(self, id: str, address: Address, body: str, headers: dict[str, str | int] | None = None) -> None:
        """Publish an envelope that is encoded already: a remembered answer, a dead letter."""
        self.outgoing.append(Outgoing(self.tenant_id, id, address, body, headers))


@dataclass
class Batch:
    """An open transaction that visits several tenants one after the other; no statement spans two of them."""

    _transactions: "Transactions"
    _bind: AsyncConnection
    _connection: asyncpg.Connection
    now: datetime
    outgoing: list[Outgoing] = field(default_factory=list)
    received: Sequence[Envelope] = ()
    """What is being handled, if anything was received; crash points can be told by it."""

    @asynccontextmanager
    async def scope(self, tenant_id: TenantId) -> AsyncIterator[Scope]:
        """Enter the tenant, and leave it with its messages written to the outbox."""
        await self._connection.execute(_SET_TENANT, str(tenant_id))
        scope = Scope(tenant_id, self.now, self._transactions.service, self._connection, self._bind)
        yield scope
        if "session" in scope.__dict__:
            await scope.session.flush()
        if scope.outgoing:
            service = self._transactions.service
            carried: tuple[Carried, ...] = (*self.received, *scope.outgoing)
            if not self.received:
                crash_point(service, "save", carried)
            await self._transactions.outbox.insert(self._connection, tenant_id, scope.outgoing, self.now)
            crash_point(service, "outbox", carried)
            self.outgoing += scope.outgoing
        # Whoever keeps the scope beyond its end finds nothing to work with: the connection may be in the next tenant by then.
        del scope.connection, scope._bind
        scope.__dict__.pop("session", None)


class Transactions:
    """The transactions of one service in one process."""

    def __init__(self, service: str, pool: AsyncEngine, outbox: Outbox, hand_over: HandOver, clock: Callable[[], datetime]) -> None:
        self.service = service
        self.outbox = outbox
        self._pool = pool
        self._hand_over = hand_over
        self._clock = clock
        self._after_commit: list[Callable[[], None]] = []

    def after_commit(self, call: Callable[[], None]) -> None:
        """From now on call this after each commit of the service in this process. Like the relay, it never waits and never fails."""
        self._after_commit.append(call)

    @asynccontextmanager
    async def __call__(self, tenant_id: TenantId) -> AsyncIterator[Scope]:
        """One tenant's transaction: commits when the block ends, rolls back when it raises."""
        async with self.batch() as batch, batch.scope(tenant_id) as scope:
            yield scope

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        """A transaction without a tenant, for its scopes to be entered one after the other."""
        async with AsyncExitStack() as stack:
            bind = await self._begun()
            # Closing without the commit below rolls back, however the block ends.
            stack.push_async_exit(bind)
            connection = (await bind.get_raw_connection()).driver_connection
            assert connection is not None
            batch = Batch(self, bind, connection, self._clock())
            yield batch
            carried: tuple[Carried, ...] = (*batch.received, *batch.outgoing)
            crash_point(self.service, "commit", carried)
            await bind.commit()
        crash_point(self.service, "committed", carried)
        self._hand_over(batch.outgoing)
        for call in self._after_commit:
            call()

    async def _begun(self) -> AsyncConnection:
        try:
            return await self._begin()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # It died while it lay in the pool, with all others there. Nothing has happened on it: a new one will do.
        return await self._begin()

    async def _begin(self) -> AsyncConnection:
        bind = await self._pool.connect()
        try:
            # The driver begins the transaction with this statement; everything on the raw connection is inside it.
            await bind.exec_driver_sql(_SET_TENANT, ("",))
        except BaseException:
            await bind.close()
            raise
        return bind
