"""Answers that come later: a command whose use case said LATER, until somebody outside has decided.

    command -> use case says LATER -> its inbox row has no answer, and a row here says who waits        one commit
    ... a payment provider calls back, a person in the shop decides ...
    answer() -> the reply is sent, the inbox remembers it, the row here goes                            one commit

Asked again meanwhile, a command changes nothing; asked again afterwards, it gets the answer that was given here. Whoever waits can also
be told that there is trouble, by `fault`: they wait on, and get the answer once there is one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from contracts.catalog import name_of
from contracts.messages import Command, Envelope, Reply, StepFaulted
from infra.inbox import Inbox, Key
from infra.transaction import Scope
from infra.wire_values import Row

R = TypeVar("R", bound=Reply)
Asked = tuple[type[Command[Any]], str]
"""What is waited for: a command's class, and its subject."""


class Deferred:
    """The commands that one service still has to answer. Its schema has the table that `infra.schema.answer_later` makes."""

    def __init__(self, service: str) -> None:
        self._inbox = Inbox(service)
        self._note = f"""
            INSERT INTO {service}.unanswered (tenant_id, command_id, type, subject, saga_id, traceparent, asked_at)
            SELECT $1, command_id, type, subject, saga_id, traceparent, $7
            FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[])
                AS given (command_id, type, subject, saga_id, traceparent)"""
        # Whoever deletes the row answers: of two at once the second finds nothing left.
        self._take = f"""
            DELETE FROM {service}.unanswered AS row USING unnest($2::text[], $3::text[]) AS given (type, subject)
            WHERE row.tenant_id = $1 AND row.type = given.type AND row.subject = given.subject
            RETURNING row.type, row.subject, command_id, saga_id, traceparent"""
        self._find = f"""
            SELECT subject, command_id, saga_id, traceparent FROM {service}.unanswered
            WHERE tenant_id = $1 AND type = $2 AND subject = $3 AND saga_id IS NOT NULL"""

    async def note(self, scope: Scope, envelopes: Sequence[Envelope]) -> None:
        """Remember who asked; in the transaction that took the commands in. One statement, however many there are."""
        if not envelopes:
            return
        await scope.connection.execute(
            self._note,
            scope.tenant_id,
            [one.id for one in envelopes],
            [one.type for one in envelopes],
            [one.subject for one in envelopes],
            [one.sagaid for one in envelopes],
            [one.traceparent for one in envelopes],
            scope.now,
        )

    async def answer(self, scope: Scope, command: type[Command[R]], subject: str, reply: R) -> int:
        """Answer every command of this class about `subject` that waits; returns how many there were, 0 if all are answered already."""
        return await self.answer_each(scope, command, {subject: reply})

    async def answer_each(self, scope: Scope, command: type[Command[R]], replies: Mapping[str, R]) -> int:
        """As `answer`, for many subjects at once: subject -> reply. As many statements for a hundred as for one."""
        return await self.answer_all(scope, {(command, subject): reply for subject, reply in replies.items()})

    async def answer_all(self, scope: Scope, replies: Mapping[Asked, Reply]) -> int:
        """As `answer_each`, for several classes of command at once; that each reply is one of its command's is up to the caller."""
        if not replies:
            return 0
        named = {(name_of(command), subject): reply for (command, subject), reply in replies.items()}
        types, subjects = [type for type, _ in named], [subject for _, subject in named]
        waiting = await scope.connection.fetch(self._take, scope.tenant_id, types, subjects)
        bodies = {Key(row["type"], row["command_id"]): _send(scope, row, named[row["type"], row["subject"]]) for row in waiting}
        self._inbox.remember(scope.writes, scope.tenant_id, bodies)
        return len(waiting)

    async def fault(self, scope: Scope, command: type[Command[Any]], subject: str, error: str, fingerprint: str) -> int:
        """Tell every saga that waits for such an answer why there is none yet: it parks in sight, and still waits.

        `error` is cut to what fits; `fingerprint` is the same for every fault of this kind. Returns how many were told.
        """
        waiting = await scope.connection.fetch(self._find, scope.tenant_id, name_of(command), subject)
        for row in waiting:
            _send(scope, row, StepFaulted(error=error[:300], fingerprint=fingerprint))
        return len(waiting)


def _send(scope: Scope, row: Row, reply: Reply) -> str:
    scope.send(
        reply,
        subject=row["subject"],
        sagaid=row["saga_id"],
        causationid=row["command_id"],
        commandid=row["command_id"],
        traceparent=row["traceparent"],
    )
    return scope.outgoing[-1].body
