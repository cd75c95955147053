"""Questions to whoever reads a queue, whether it has handled a message, and what it says: the table `question`.

The question goes to the work queue itself, so an answer also tells that somebody reads it, and which build of the code. Some are asked
by one who waits (services/ops/replay/asking.py); the answer to one that `settles` settles its letter, whoever waits (handled.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from contracts.addresses import replay_address
from contracts.desk import AskIfHandled, HandlingReported
from contracts.values import TenantId
from infra.transaction import Scope

_PUT: Final = """
    INSERT INTO ops.question (tenant_id, id, letter_id, queue, asked_at, settles)
    SELECT $1, id, letter_id, queue, $5, $6 FROM unnest($2::uuid[], $3::uuid[], $4::text[]) AS given (id, letter_id, queue)"""
_REPORT: Final = """
    UPDATE ops.question AS question SET is_handled = given.is_handled, build = given.build, answered_at = $6
    FROM unnest($2::uuid[], $3::uuid[], $4::boolean[], $5::text[]) AS given (id, letter_id, is_handled, build)
    WHERE question.tenant_id = $1 AND question.id = given.id AND question.letter_id = given.letter_id AND question.answered_at IS NULL"""
_ANSWERED: Final = """
    SELECT id, is_handled, build FROM ops.question WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND answered_at IS NOT NULL"""
# An asker that died before its answer came has left its question behind.
_CLEAR: Final = "DELETE FROM ops.question WHERE tenant_id = $1 AND (id = ANY($2::uuid[]) OR (asked_at < $3 AND NOT settles))"
_SETTLING: Final = "SELECT id, letter_id FROM ops.question WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND settles"
_FORGET: Final = "DELETE FROM ops.question WHERE tenant_id = $1 AND id = ANY($2::uuid[]) AND settles"
_LEFT_BEHIND_AFTER: Final = timedelta(hours=1)


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


async def put(scope: Scope, asked: Sequence[Asked], *, settles: bool) -> list[UUID]:
    """Send the questions about this tenant's letters and note them, in this transaction; their ids, in the order of `asked`."""
    ids = [
        scope.send(
            AskIfHandled(letter_id=one.letter_id, message_id=one.message_id, type=one.type),
            subject=str(one.letter_id),
            address=replay_address(one.queue),
        ).id
        for one in asked
    ]
    columns = ids, [one.letter_id for one in asked], [one.queue for one in asked]
    await scope.connection.execute(_PUT, scope.tenant_id, *columns, scope.now, settles)
    return ids


async def report(scope: Scope, told: Mapping[UUID, HandlingReported]) -> None:
    """Keep each answer beside its question; one that comes when nobody waits any more is not kept."""
    if told:
        said = list(told.values())
        columns = list(told), [one.letter_id for one in said], [one.is_handled for one in said], [one.build for one in said]
        await scope.connection.execute(_REPORT, scope.tenant_id, *columns, scope.now)


async def answered(scope: Scope, ids: Sequence[UUID]) -> dict[UUID, Answer]:
    """The answers that have come, by question."""
    return {row["id"]: Answer(row["is_handled"], row["build"]) for row in await scope.connection.fetch(_ANSWERED, scope.tenant_id, ids)}


async def clear(scope: Scope, ids: Sequence[UUID]) -> None:
    """Nobody waits for these any more, nor for what others have left behind."""
    await scope.connection.execute(_CLEAR, scope.tenant_id, ids, scope.now - _LEFT_BEHIND_AFTER)


async def settling(scope: Scope, ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """The letters that those of these questions are about whose answer settles one. Only what was asked is believed."""
    rows = await scope.connection.fetch(_SETTLING, scope.tenant_id, ids) if ids else []
    return {row["id"]: row["letter_id"] for row in rows}


async def forget(scope: Scope, ids: Sequence[UUID]) -> None:
    """Those that settle are answered, and nobody waits for them."""
    if ids:
        await scope.connection.execute(_FORGET, scope.tenant_id, ids)
