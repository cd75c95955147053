"""Load, decide, save, ask: one transaction moves all sagas of a tenant that a batch of messages concerns.

It is a repository to the consumer edge: `load` locks the sagas, each message is a pure move of the machine, `save` writes every
saga once and puts its commands in the outbox. All answers of a saga in the batch are folded in the order in which they came.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from prometheus_client import Counter

from contracts.catalog import CATALOG
from contracts.messages import Envelope, Event, Message, Reply
from contracts.values import SagaId, TenantId
from infra.handling import Decide, Handles
from infra.transaction import Scope
from sagas.engine import instances, machine, unheard
from sagas.engine.definition import Saga
from sagas.engine.held import Held
from sagas.engine.history import Kind
from sagas.engine.instances import UnknownDefinition
from sagas.engine.remembered import Remembered
from sagas.engine.telling import tell
from sagas.engine.unheard import Foreign
from sagas.engine.verify import verify

_log: Final = logging.getLogger(__name__)
_contradictions: Final = Counter("oaas_saga_contradictions_total", "Answers that cannot be, or another one than before", ["saga"])
_NAMESPACE: Final = UUID("6f1f5f0e-6f0b-5f43-9c58-5a6a3f0c7a10")


class StrayReply(LookupError):
    """A reply to something that no saga of this tenant has asked: forged, or sent to the wrong tenant. It is parked and alerts."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(f"no saga {envelope.sagaid} of tenant {envelope.tenantid} asked command {envelope.commandid}")
        self.envelope = envelope


class AmbiguousStart(ValueError):
    """One event would start two sagas; it needs one of them, or two events."""

    def __init__(self, one: Saga[Any, Any], other: Saga[Any, Any]) -> None:
        super().__init__(f"{one.started_by.__name__} would start both {one.name} and {other.name}: give each its own event")


def saga_id(saga: str, tenant_id: TenantId, subject: str) -> SagaId:
    """The id of the saga about this subject: the same however often its first event arrives."""
    return SagaId(uuid5(_NAMESPACE, f"{tenant_id}:{saga}:{subject}"))


@dataclass
class Group:
    """The sagas of one tenant that one batch concerns, locked."""

    tenant_id: TenantId
    now: datetime
    held: dict[SagaId, Held]
    foreign: dict[SagaId, Foreign] = field(default_factory=dict)
    """Those whose definition is another release's."""
    unheard: list[Envelope] = field(default_factory=list)
    """Replies to them."""


class Coordinator:
    """Runs any number of sagas; knows none of them."""

    def __init__(self, sagas: Iterable[Saga[Any, Any]]) -> None:
        """Raises UnsoundSaga, and AmbiguousStart for two sagas that one event would start."""
        self.sagas: Mapping[tuple[str, int], Saga[Any, Any]] = {(saga.name, saga.version): saga for saga in sagas}
        self._remembered = Remembered()
        self._started_by: dict[type[Event], Saga[Any, Any]] = {}
        # Sorted, so that the newest version that begins is the one that stays.
        for _, saga in sorted(self.sagas.items(), key=lambda item: item[0]):
            verify(saga)
            before = self._started_by.get(saga.started_by)
            if before is not None and before.name != saga.name:
                raise AmbiguousStart(before, saga)
            if saga.begins:
                self._started_by[saga.started_by] = saga

    def handles(self) -> Handles:
        """The table for the consumer edge: events that start a saga, and every reply there is."""
        table: dict[type[Message], Decide] = dict.fromkeys(self._started_by, self.start)
        table |= {message: self.answer for message in CATALOG.values() if issubclass(message, Reply)}
        return Handles(self, table)

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Group:
        """Lock every saga that these messages start or answer."""
        ids = sorted({id for envelope in received if (id := self._saga_of(envelope))})
        connection, tenant_id = scope.connection, scope.tenant_id
        try:
            held = await instances.lock_remembered(connection, tenant_id, ids, self.sagas, self._remembered)
            return Group(tenant_id, scope.now, held)
        except UnknownDefinition as error:
            _log.warning("a reply met a process of another release", extra={"tenant": tenant_id, "error": str(error)})
        # All are locked by now, whatever their definition.
        foreign = await unheard.foreign_among(connection, tenant_id, ids, self.sagas)
        held = await instances.lock(connection, tenant_id, [id for id in ids if id not in foreign], self.sagas)
        return Group(tenant_id, scope.now, held, foreign)

    async def save(self, scope: Scope, state: Group) -> None:
        """Write what moved and ask what the machine wants asked."""
        if state.unheard:
            await unheard.keep(scope.connection, scope.tenant_id, state.unheard, scope.now)
        moved = [one for one in state.held.values() if one.entries]
        instances.write(scope, moved)
        scope.once_committed(lambda: self._remembered.keep(scope.tenant_id, moved))
        for one in moved:
            for ask, traceparent in one.asks:
                scope.send(
                    ask.command,
                    subject=one.subject,
                    id=ask.command_id,
                    sagaid=one.instance.id,
                    expires=ask.expires,
                    traceparent=traceparent,
                )
            tell(scope, one)

    def start(self, envelope: Envelope, group: Group) -> None:
        """Begin the saga that this event starts, unless it has begun."""
        assert isinstance(envelope.data, Event)
        saga = self._started_by[type(envelope.data)]
        id = saga_id(saga.name, group.tenant_id, envelope.subject)
        if id in group.held or id in group.foreign:
            return
        moved = machine.start(saga, id, group.tenant_id, envelope.data, group.now)
        held = Held(saga, moved.instance, envelope.subject, is_new=True)
        started = replace(moved.entries[0], message_id=envelope.id)
        held.move(replace(moved, entries=(started, *moved.entries[1:])), envelope.traceparent)
        group.held[id] = held

    def answer(self, envelope: Envelope, group: Group) -> None:
        """Move the saga that waits for this reply; raises StrayReply if none does."""
        assert isinstance(envelope.data, Reply)
        if envelope.sagaid in group.foreign:
            self._leave_unheard(envelope, group)
            return
        held = group.held.get(envelope.sagaid) if envelope.sagaid else None
        if held is None or envelope.commandid is None or held.instance.asking_of(envelope.commandid) is None:
            raise StrayReply(envelope)
        moved = machine.answered(held.saga, held.instance, envelope.commandid, envelope.data, group.now)
        held.move(moved, envelope.traceparent)
        if any(entry.kind is Kind.CONTRADICTED for entry in moved.entries):
            _contradictions.labels(held.saga.name).inc()
            _log.error("a participant contradicts itself", extra={"saga": held.instance.id, "message_id": envelope.id})

    async def hear_what_was_kept(self, scope: Scope, state: Group) -> None:
        """Move the locked sagas by the replies that met processes of another release."""
        for reply in await unheard.take(scope.connection, scope.tenant_id, state.held):
            self.answer(reply, state)

    def _leave_unheard(self, envelope: Envelope, group: Group) -> None:
        assert envelope.sagaid is not None
        foreign = group.foreign[envelope.sagaid]
        if not foreign.has_asked(envelope.commandid):
            raise StrayReply(envelope)
        # One that has ended needs no answer any more, and its definition may be gone for good.
        if not foreign.is_final:
            group.unheard.append(envelope)

    def _saga_of(self, envelope: Envelope) -> SagaId | None:
        saga = self._started_by.get(type(envelope.data))  # type: ignore[arg-type]  # a reply is no key of it, and is meant to miss
        return envelope.sagaid if saga is None else saga_id(saga.name, envelope.tenantid, envelope.subject)
