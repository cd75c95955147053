"""Answers what the operators' desk asks of whoever reads a queue. Nothing is handled for it, and the inbox does not remember it."""

from collections.abc import Sequence
from typing import Final

from contracts.desk import AskIfHandled, HandlingReported
from contracts.messages import Envelope
from infra.build import build
from infra.inbox import Inbox, Key
from infra.transaction import Scope


def is_question(envelope: Envelope) -> bool:
    """Whether every service answers it by itself, without a use case."""
    return isinstance(envelope.data, AskIfHandled)


class Questions:
    """What one service is asked."""

    def __init__(self, service: str) -> None:
        self._inbox: Final = Inbox(service)

    async def answer(self, scope: Scope, asked: Sequence[Envelope]) -> None:
        """Say of each message that is asked about whether its effect is committed, or is in this transaction. One statement for all."""
        about = {envelope.id: (envelope, envelope.data) for envelope in asked if isinstance(envelope.data, AskIfHandled)}
        keys = {Key(question.type, question.message_id) for _, question in about.values()}
        known = await self._inbox.known(scope.connection, scope.tenant_id, sorted(keys, key=str))
        for envelope, question in about.values():
            is_handled = Key(question.type, question.message_id) in known
            scope.send(
                HandlingReported(letter_id=question.letter_id, is_handled=is_handled, build=build()),
                subject=str(question.letter_id),
                causationid=envelope.id,
                traceparent=envelope.traceparent,
            )
