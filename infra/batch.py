"""What happens to a batch of envelopes inside one transaction: the same for one envelope and for hundreds.

Step by step, all tenants side by side in each: inbox; for each repository of the service's table load, decide each message, save; then
replies and their memory. So a batch makes a handful of round trips, however many tenants are in it. Lock order is global: first the
inbox, then what the repositories lock, in the order of the table; in each step tenants sorted. So a repository locks each kind of rows
in the same statement from the start, whatever it is asked: one that sometimes needs a round trip more would lock out of turn. Deciding
is pure and sees what its neighbours in the batch have changed, so conflicts inside a batch resolve themselves in memory.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID, uuid5

from pydantic_core import from_json

from contracts.addresses import address_of
from contracts.desk import LetterSettled
from contracts.messages import LATER, Command, Envelope, Later, Message, Reply
from contracts.values import TenantId
from infra.crash import crash_point
from infra.deferred import Deferred
from infra.deliveries import Replay
from infra.handling import Handles
from infra.inbox import Inbox, Key
from infra.questions import Questions, is_question
from infra.suspects import Suspects
from infra.telemetry import step_of_journey
from infra.together import together
from infra.transaction import Scope, Transactions

Replays = Mapping[tuple[TenantId, UUID], Sequence[Replay]]
"""By tenant and message id: those replays of which the desk waits to hear."""
_NONE: Final[Replays] = MappingProxyType({})
AT_ONCE: Final = 4


class NotHandled(Exception):
    """This service handles no message of that type; it came to the wrong queue."""

    def __init__(self, service: str, type: str) -> None:
        super().__init__(f"{service} handles no {type}; it came to the wrong queue")
        self.type = type


class UndeclaredReply(TypeError):
    """A use case answered with something that its command does not declare."""

    def __init__(self, command: type[Message], reply: Reply | Later | None) -> None:
        super().__init__(f"{command.__name__} cannot be answered with {type(reply).__name__}; its declaration names every answer")


@dataclass(slots=True)
class _Visit:
    """One tenant's part of a batch."""

    scope: Scope
    group: dict[Key, Envelope]
    fresh: AbstractSet[Key] = frozenset()
    """Those that had not been handled before."""
    loaded: list[Any] = field(default_factory=list)
    """What the only repository of the batch has for them; empty if that is still to be loaded."""
    answers: dict[Key, str] = field(default_factory=dict)


class Batches:
    """Handles batches for one service."""

    def __init__(self, transaction: Transactions, table: Sequence[Handles], at_once: int = AT_ONCE) -> None:
        """At most `at_once` batches are under way: what waits for a turn here does not wait for a connection, which has a time-out."""
        self._transaction = transaction
        self._turns = asyncio.Semaphore(at_once)
        self._service: Final = transaction.service
        self._inbox = Inbox(self._service)
        self._suspects = Suspects(self._service)
        self._deferred = Deferred(self._service)
        self._questions = Questions(self._service)
        self._handles = table
        self._table = {message: handles for handles in table for message in handles.decide}
        # Asked of a class that is known to be there; isinstance() of pydantic's classes takes longer than deciding.
        self._commands = frozenset(message for message in self._table if issubclass(message, Command))

    async def commit(self, envelopes: Iterable[Envelope], *, suspected: bool = False, replays: Replays = _NONE) -> None:
        """Handle all of them in one transaction and hand what they cause to the relay; raises and changes nothing otherwise."""
        groups: dict[TenantId, dict[Key, Envelope]] = {}
        for envelope in envelopes:
            if type(envelope.data) not in self._table and not is_question(envelope):
                raise NotHandled(self._service, envelope.type)
            # The same envelope twice in a batch is one message.
            groups.setdefault(envelope.tenantid, {})[Key(envelope.type, envelope.id)] = envelope
        async with self._turns, self._transaction.batch() as batch:
            batch.received = [envelope for group in groups.values() for envelope in group.values()]
            # Sorted as UUIDs compare, and a hundred times faster.
            visits = [_Visit(await batch.enter(tenant_id), groups[tenant_id]) for tenant_id in sorted(groups, key=attrgetter("int"))]
            await together([self._take_in(visit, self._only_one(batch.received)) for visit in visits])
            # As the table names them, not as their messages came: two batches that lock in opposite order deadlock.
            for handles in self._handles:
                concerned = [(visit, received) for visit in visits if (received := self._fresh_for(handles, visit))]
                await together([self._decide(visit, handles, received) for visit, received in concerned])
            await together([self._finish(visit, replays, suspected=suspected) for visit in visits])
            for visit in visits:
                await batch.leave(visit.scope)

    def _only_one(self, received: Sequence[Envelope]) -> Handles | None:
        """The only part of the table that all of these concern, which is nearly always so."""
        parts = {id(handles): handles for one in received if (handles := self._table.get(type(one.data))) is not None}
        return next(iter(parts.values())) if len(parts) == 1 else None

    async def _take_in(self, visit: "_Visit", only: Handles | None) -> None:
        scope = visit.scope
        keys = [key for key, envelope in visit.group.items() if not self._is_asked(envelope)]
        if not keys:
            return
        asked = self._inbox.take(scope.connection, scope.tenant_id, keys, scope.now)
        if only is not None:
            # Nearly always all are new: what they need is asked for at once, and locked after the inbox all the same.
            visit.loaded = [await only.repository.load(scope, [visit.group[key] for key in keys])]
        visit.fresh, answered = await self._inbox.taken(scope.connection, scope.tenant_id, keys, asked)
        if answered:
            visit.loaded = []
        crash_point(self._service, "inbox", [visit.group[key] for key in keys])
        for answer in answered.values():
            if answer is not None:
                self._answer_again(scope, answer)

    async def _finish(self, visit: "_Visit", replays: Replays, *, suspected: bool) -> None:
        scope, group = visit.scope, visit.group
        self._inbox.remember(scope.writes, scope.tenant_id, visit.answers)
        if replays:
            await self._report(scope, {key: group[key] for key in group if not self._is_asked(group[key])}, visit.fresh, replays)
        if asked := [envelope for envelope in group.values() if self._is_asked(envelope)]:
            await self._questions.answer(scope, asked)
        if suspected:
            await self._suspects.clear(scope.connection, scope.tenant_id, [envelope.id for envelope in group.values()])

    def _is_asked(self, envelope: Envelope) -> bool:
        return type(envelope.data) not in self._table and is_question(envelope)

    def _fresh_for(self, handles: Handles, visit: "_Visit") -> dict[Key, Envelope]:
        """Those messages of the group that had not been handled before and that this part of the table decides."""
        return {key: one for key, one in visit.group.items() if key in visit.fresh and self._table[type(one.data)] is handles}

    async def _report(self, scope: Scope, group: dict[Key, Envelope], fresh: AbstractSet[Key], replays: Replays) -> None:
        """Tell the desk what came of the letters that it has sent again; whoever answers LATER has settled its letter, too."""
        told = [(key, replay) for key, envelope in group.items() for replay in replays.get((scope.tenant_id, envelope.id), ())]
        known = [str(_report_id(replay)) for key, replay in told if key not in fresh]
        # What a process that died had to tell is still here, and on its way: said anew from memory, KNOWN would overtake it.
        rows = await self._transaction.outbox.read(scope.connection, scope.tenant_id, known) if known else ()
        waiting = {row.id for row in rows}
        for key, replay in told:
            envelope, id = group[key], _report_id(replay)
            if str(id) not in waiting:
                scope.send(
                    LetterSettled(letter_id=replay.letter_id, replay_id=replay.replay_id, was_known=key not in fresh),
                    subject=str(replay.letter_id),
                    # Delivered again, it says so again, under the same id: the first to come counts.
                    id=id,
                    causationid=envelope.id,
                    traceparent=envelope.traceparent,
                )

    async def _decide(self, visit: "_Visit", handles: Handles, received: dict[Key, Envelope]) -> None:
        scope = visit.scope
        # What one repository has changed is there before the next one looks.
        await scope.written()
        (state,) = visit.loaded or (await handles.repository.load(scope, list(received.values())),)
        later = []
        with ExitStack() as spans:
            for key, envelope in received.items():
                traceparent = spans.enter_context(step_of_journey(envelope, self._service))
                reply = handles.decide[type(envelope.data)](envelope, state)
                if reply is LATER:
                    later.append(envelope)
                elif type(envelope.data) in self._commands:
                    visit.answers[key] = self._answer(scope, envelope, reply, traceparent)
            # Before they are saved: what one of the group asked for may be answered by what its neighbours have changed.
            await self._deferred.note(scope, later)
            await handles.repository.save(scope, state)
        crash_point(self._service, "save", received.values())

    def _answer(self, scope: Scope, envelope: Envelope, reply: Reply | Later | None, traceparent: str | None) -> str:
        command = envelope.data
        assert isinstance(command, Command)
        if isinstance(reply, Later) or not isinstance(reply, command.replies()):
            raise UndeclaredReply(type(command), reply)
        scope.send(
            reply,
            subject=envelope.subject,
            sagaid=envelope.sagaid,
            causationid=envelope.id,
            commandid=envelope.id,
            traceparent=traceparent,
        )
        return scope.outgoing[-1].body

    def _answer_again(self, scope: Scope, answer: str) -> None:
        # Byte for byte the first answer, id included, so that whoever asked knows it for the same.
        scope.post(from_json(answer)["id"], address_of(Reply, scope.tenant_id, self._service), answer)


def _report_id(replay: Replay) -> UUID:
    return uuid5(replay.letter_id, f"settled by {replay.replay_id}")
