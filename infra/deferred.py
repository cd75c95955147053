"""Answers that come later: a command whose use case said LATER, until somebody outside has decided.

    command -> use case says LATER -> its inbox row has no answer, and a row here says who waits        one commit
    ... a payment provider calls back, a person in the shop decides ...
    answer() -> the reply is sent, the inbox remembers it, the row here goes                            one commit

Asked again meanwhile, a command changes nothing; asked again afterwards, it gets the answer that was given here.
"""

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

from contracts.catalog import name_of
from contracts.messages import Command, Envelope, Reply
from contracts.values import SagaId
from infra.inbox import Inbox, Key
from infra.transaction import Scope

R = TypeVar("R", bound=Reply)


class Deferred:
    """The commands that one service still has to answer. Its schema has the table that `infra.schema.answer_later` makes."""

    def __init__(self, service: str) -> None:
        self._inbox = Inbox(service)
        self._note = f"""
            INSERT INTO {service}.unanswered (tenant_id, command_id, type, subject, saga_id, traceparent, asked_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)"""
        # Whoever deletes the row answers: of two at once the second finds nothing left.
        self._take = f"""
            DELETE FROM {service}.unanswered WHERE tenant_id = $1 AND subject = ANY($2::text[]) AND type = $3
            RETURNING subject, command_id, saga_id, traceparent"""

    async def note(self, scope: Scope, envelope: Envelope) -> None:
        """Remember who asked; in the transaction that took the command in."""
        await scope.connection.execute(
            self._note,
            scope.tenant_id,
            envelope.id,
            envelope.type,
            envelope.subject,
            envelope.sagaid,
            envelope.traceparent,
            scope.now,
        )

    async def answer(self, scope: Scope, command: type[Command[R]], subject: str, reply: R) -> int:
        """Answer every command of this class about `subject` that waits; returns how many there were, 0 if all are answered already."""
        return await self.answer_each(scope, command, {subject: reply})

    async def answer_each(self, scope: Scope, command: type[Command[R]], replies: Mapping[str, R]) -> int:
        """As `answer`, for many subjects at once: subject -> reply. As many statements for a hundred as for one."""
        waiting = await scope.connection.fetch(self._take, scope.tenant_id, list(replies), name_of(command))
        bodies = {
            Key(name_of(command), row["command_id"]): _send(
                scope, row["subject"], replies[row["subject"]], row["command_id"], row["saga_id"], row["traceparent"]
            )
            for row in waiting
        }
        await self._inbox.remember(scope.connection, scope.tenant_id, bodies)
        return len(waiting)


def _send(scope: Scope, subject: str, reply: Reply, command_id: UUID, saga_id: SagaId | None, traceparent: Any) -> str:
    scope.send(reply, subject=subject, sagaid=saga_id, causationid=command_id, commandid=command_id, traceparent=traceparent)
    return scope.outgoing[-1].body
