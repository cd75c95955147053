"""Asking whoever reads a queue whether it has handled a message, and waiting for the report, within a bound.

The question goes to the work queue itself, so an answer also tells that somebody reads it, and which build of the code. The report
comes to a worker of the desk, which keeps it beside the question (services/ops/replay/outcomes.py); the asker looks there.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from contracts.addresses import replay_address
from contracts.desk import AskIfHandled
from contracts.values import TenantId
from infra.transaction import Transactions

_ASK: Final = """
    INSERT INTO ops.question (tenant_id, id, letter_id, queue, asked_at)
    SELECT $1, id, letter_id, queue, $5 FROM unnest($2::uuid[], $3::uuid[], $4::text[]) AS given (id, letter_id, queue)"""
# An asker that died before its answer came has left its question behind.
_CLEAR: Final = "DELETE FROM ops.question WHERE tenant_id = $1 AND (id = ANY($2::uuid[]) OR (asked_at < $3 AND NOT settles))"
_LOOK: Final = """
    SELECT id, is_handled, build FROM ops.question WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND answered_at IS NOT NULL"""
_LOOK_EVERY_S: Final = 0.05
_FORGOTTEN_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A letter that whoever reads its queue is asked about."""

    tenant_id: TenantId
    letter_id: UUID
    message_id: UUID
    type: str
    queue: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the message has been handled, and the build of the process that says so."""

    is_handled: bool
    build: str


async def ask(transaction: Transactions, asked: Sequence[Asked], within_s: float) -> dict[UUID, Answer]:
    """The answers by letter that came within the bound; all are asked at once. A letter without an answer is not in it."""
    if not asked:
        return {}
    by_tenant: dict[TenantId, list[Asked]] = {}
    for one in asked:
        by_tenant.setdefault(one.tenant_id, []).append(one)
    questions = await _put(transaction, by_tenant)
    until = asyncio.get_running_loop().time() + within_s
    answers: dict[UUID, Answer] = {}
    while len(answers) < len(questions) and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(_LOOK_EVERY_S)
        answers = await _look(transaction, by_tenant, questions)
    async with transaction.batch() as batch:
        for tenant_id in sorted(by_tenant):
            async with batch.scope(tenant_id) as scope:
                await scope.connection.execute(_CLEAR, tenant_id, list(questions), scope.now - _FORGOTTEN_AFTER)
    return answers


async def _put(transaction: Transactions, by_tenant: Mapping[TenantId, Sequence[Asked]]) -> dict[UUID, UUID]:
    """The questions' ids, with the letters that they are about."""
    questions: dict[UUID, UUID] = {}
    async with transaction.batch() as batch:
        for tenant_id, own in sorted(by_tenant.items()):
            async with batch.scope(tenant_id) as scope:
                ids = [
                    scope.send(
                        AskIfHandled(letter_id=one.letter_id, message_id=one.message_id, type=one.type),
                        subject=str(one.letter_id),
                        address=replay_address(one.queue),
                    ).id
                    for one in own
                ]
                columns = ids, [one.letter_id for one in own], [one.queue for one in own]
                await scope.connection.execute(_ASK, tenant_id, *columns, scope.now)
                questions |= dict(zip(ids, columns[1], strict=True))
    return questions


async def _look(
    transaction: Transactions, by_tenant: Mapping[TenantId, Sequence[Asked]], questions: Mapping[UUID, UUID]
) -> dict[UUID, Answer]:
    found: dict[UUID, Answer] = {}
    async with transaction.batch() as batch:
        for tenant_id in sorted(by_tenant):
            async with batch.scope(tenant_id) as scope:
                rows = await scope.connection.fetch(_LOOK, tenant_id, list(questions))
                found |= {questions[row["id"]]: Answer(row["is_handled"], row["build"]) for row in rows}
    return found
