"""The only door to a session. What happens inside one scope belongs to one tenant; only this file commits.

    async with transaction(tenant_id) as scope:      one tenant: HTTP requests, timers, sweepers
    async with transaction.batch() as batch:         several tenants in one transaction, each in a scope of its own: the consumer
        async with batch.scope(tenant_id) as scope:

The tenant is set for the transaction only (a session-level setting would leak to the pool's next user), and infra/wire.py enters it
before every statement that follows one of another tenant. What a scope sends is in the outbox before the commit and in the relay's
hands after it. A round trip costs more than most statements, so beginning travels with the first of them, and all that a scope writes
is one; scopes that are visited side by side (infra/together.py) share their round trips.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlmodel.ext.asyncio.session import AsyncSession

from contracts.addresses import Address, address_of
from contracts.catalog import name_of
from contracts.messages import Envelope, Message
from contracts.values import SagaId, TenantId
from infra.crash import Carried, crash_point
from infra.identifiers import uuid7
from infra.outbox import Outbox, Outgoing
from infra.retry import DRIVER_ERRORS, Ending, ending_of
from infra.statements import Statements
from infra.telemetry import current_traceparent
from infra.wire import Answer, Wire, status_of
from infra.writes import Writes, settled

_WIRE: Final = "wire"


class HandOver(Protocol):
    """Takes what was committed, to publish it from memory. Never waits and never fails: the outbox has it all."""

    def __call__(self, outgoing: Sequence[Outgoing]) -> None: ...


@dataclass
class Scope:
    """One tenant inside an open transaction. `session` and `connection` are two ways to the same transaction."""

    tenant_id: TenantId
    now: datetime
    service: str
    connection: Statements
    _bind: AsyncConnection | None
    outgoing: list[Outgoing] = field(default_factory=list)
    writes: Writes = field(default_factory=Writes)
    _once_committed: list[Callable[[], None]] = field(default_factory=list)

    @cached_property
    def session(self) -> AsyncSession:
        """SQLModel's session, for the API's single rows; whoever shares the transaction with other tenants has `connection` only."""
        assert self._bind is not None, "a session belongs to a transaction of one tenant"
        return AsyncSession(bind=self._bind, expire_on_commit=False)

    def write(self, statement: str, *arguments: Any, rows: int | None = None) -> None:
        """Write this before the scope ends, together with all else that is written; with `rows`, exactly so many rows must change."""
        self.writes.add(statement, *arguments, rows=rows)

    async def written(self) -> None:
        """Write now what is to be written: for whoever reads it in the same scope. Raises LockedRowMissing."""
        if sent := self.writes.send(self.connection):
            await settled(sent)

    def once_committed(self, call: Callable[[], None]) -> None:
        """Call this if and when the transaction has committed. Like the relay, it never waits and never fails."""
        self._once_committed.append(call)

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
        self.outgoing.append(Outgoing(self.tenant_id, id, address, body, headers, created_at=self.now))


@dataclass
class Batch:
    """An open transaction that visits several tenants, one after the other or side by side; no statement spans two of them."""

    _transactions: "Transactions"
    now: datetime
    outgoing: list[Outgoing] = field(default_factory=list)
    received: Sequence[Envelope] = ()
    """What is being handled, if anything was received; crash points can be told by it."""
    _open: "_Open | None" = None
    _sent: list[Answer] = field(default_factory=list)
    """What the scopes have written last; the COMMIT travels with it."""
    _once_committed: list[Callable[[], None]] = field(default_factory=list)

    async def enter(self, tenant_id: TenantId) -> Scope:
        """A scope that `leave` ends; the tenant is entered with the first statement. For one tenant after the other, not side by side."""
        if self._open is None:
            self._open = await self._transactions.begun()
        statements = Statements(self._open.wire, tenant_id)
        return Scope(tenant_id, self.now, self._transactions.service, statements, None, _once_committed=self._once_committed)

    async def leave(self, scope: Scope) -> None:
        """Have its writes and its messages, which go to the outbox, leave with the next statement, or with the commit."""
        service = self._transactions.service
        if "session" in scope.__dict__:
            await scope.session.flush()
        if scope.outgoing:
            carried: tuple[Carried, ...] = (*self.received, *scope.outgoing)
            if not self.received:
                crash_point(service, "save", carried)
            self._transactions.outbox.add_to(scope.writes, scope.tenant_id, scope.outgoing, self.now)
        if sent := scope.writes.send(scope.connection):
            self._sent.append(sent)
        if scope.outgoing:
            crash_point(service, "outbox", carried)
            self.outgoing += scope.outgoing
        # Whoever keeps the scope beyond its end finds nothing to work with: the connection may be in the next transaction by then.
        del scope.connection, scope._bind
        scope.__dict__.pop("session", None)

    @asynccontextmanager
    async def scope(self, tenant_id: TenantId) -> AsyncIterator[Scope]:
        """Enter the tenant, and leave it with its writes written and its messages in the outbox."""
        scope = await self.enter(tenant_id)
        yield scope
        await self.leave(scope)


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection out of the pool, inside a transaction that this file begins and ends: the pool's own are in autocommit."""

    bind: AsyncConnection
    wire: Wire

    async def commit(self, sent: Sequence[Answer]) -> None:
        """Raises what went wrong with what was sent, and NotCommitted if an earlier statement had failed and nobody noticed."""
        done = self.wire.commit()
        for one in sent:
            await settled(one)
        if (said := status_of(await done)) != "COMMIT":
            raise NotCommitted(said)

    async def close(self, *, is_committed: bool) -> None:
        """Give the connection back to the pool; what is not committed is rolled back."""
        try:
            if not is_committed:
                await self.wire.roll_back()
        except (*DRIVER_ERRORS, OSError):
            # In which state it is nobody knows: nobody is to get it again.
            self.wire.give_up()
            await self.bind.invalidate()
        finally:
            await self.bind.close()


class NotCommitted(Exception):
    """A statement had failed, and whoever sent it went on as if it had not: nothing of the transaction is kept."""


class Transactions:
    """The transactions of one service in one process."""

    def __init__(self, service: str, pool: AsyncEngine, outbox: Outbox, hand_over: HandOver, clock: Callable[[], datetime]) -> None:
        """`pool` has connections in autocommit, as `open_pool` opens it for the role app."""
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
        async with self.batch() as batch:
            batch._open = await self.begun(tenant_id)
            async with batch.scope(tenant_id) as scope:
                scope._bind = batch._open.bind
                yield scope

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[Batch]:
        """A transaction for scopes to be entered one after the other; without any, it asks whether the database answers."""
        batch = Batch(self, self._clock())
        is_committed = False
        try:
            yield batch
            carried: tuple[Carried, ...] = (*batch.received, *batch.outgoing)
            crash_point(self.service, "commit", carried)
            if batch._open is None:
                batch._open = await self.begun()
            await batch._open.commit(batch._sent)
            is_committed = True
        finally:
            if batch._open is not None:
                # Also of a task that is cancelled right now.
                await asyncio.shield(asyncio.ensure_future(batch._open.close(is_committed=is_committed)))
        crash_point(self.service, "committed", carried)
        self._hand_over(batch.outgoing)
        for call in (*batch._once_committed, *self._after_commit):
            call()

    async def begun(self, tenant_id: TenantId | None = None) -> _Open:
        """A connection in a new transaction; without a tenant it begins with whatever is asked first. For this file only."""
        stale_left = self._connections_max
        while True:
            bind = await self._pool.connect()
            try:
                return await _begun_on(bind, tenant_id)
            except (*DRIVER_ERRORS, OSError) as error:
                # It died while it lay in the pool, with all others there. Nothing has happened on it: a new one will do.
                stale_left -= 1
                if ending_of(error) is not Ending.OUTAGE or stale_left < 0:
                    raise

    @property
    def _connections_max(self) -> int:
        pool = self._pool.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return pool.size()


async def _begun_on(bind: AsyncConnection, tenant_id: TenantId | None) -> _Open:
    wire: Wire | None = None
    try:
        wire = await _wire_of(bind)
        wire.begin()
        if tenant_id is not None:
            await wire.enter(tenant_id)
    except BaseException:
        # In which state it is nobody knows: nobody is to get it again.
        if wire is not None:
            wire.give_up()
        await bind.invalidate()
        await bind.close()
        raise
    return _Open(bind, wire)


async def _wire_of(bind: AsyncConnection) -> Wire:
    pooled = await bind.get_raw_connection()
    assert pooled.driver_connection is not None
    # As long as the connection lives, which remembers what it has prepared.
    wire: Wire = pooled.info.get(_WIRE) or pooled.info.setdefault(_WIRE, Wire(pooled.driver_connection))
    return wire
