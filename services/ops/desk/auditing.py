"""What operators did, and what they were refused: `ops.audit`, to which rows are added and of which nothing is ever changed.

An entry stands in the tenant of the letter, saga or order that it is about, so that a tenant's operators read their own. What is about
none, such as a filter over all tenants that was refused, stands in the tenant of nobody (model.NOBODY). What an operator of the platform
does with a replay stands there, and a copy of it in each tenant whose letters it sends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from contracts.values import TenantId
from infra.identifiers import uuid7
from infra.transaction import Scope

DETAIL_CHARACTERS_MAX: Final = 500
"""Longer details are cut."""
FILTER_CHARACTERS_MAX: Final = 4_000
"""Longer filters are cut: they are kept for people to read."""

_WRITE: Final = """
    INSERT INTO ops.audit (tenant_id, id, at, actor, verb, reason, filter, replay_id, letter_id, outcome, detail, is_copy)
    SELECT $1, id, $2, actor, verb, reason, filter, replay_id, letter_id, outcome, detail, is_copy
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::text[], $11::text[],
            $12::boolean[])
        AS given (id, actor, verb, reason, filter, replay_id, letter_id, outcome, detail, is_copy)"""
_READ: Final = """
    SELECT tenant_id, id, at, actor, verb, reason, filter, replay_id, letter_id, outcome, detail, is_copy FROM ops.audit
    WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY at DESC, id DESC"""


class Outcome(StrEnum):
    """What came of an attempt."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    MOVED = "MOVED"
    """It was no longer as the operator had seen it."""
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One attempt on one thing. `outcome` is an Outcome, or the state that a replayed letter came to."""

    actor: str
    verb: str
    reason: str
    outcome: str
    detail: str = ""
    filter: str | None = None
    replay_id: UUID | None = None
    letter_id: UUID | None = None
    is_copy: bool = False
    """The same is told in the tenant of whoever did it; here it is for the tenant whose letters it was done to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Entry):
    """An entry as it is kept."""

    tenant_id: TenantId
    id: UUID
    at: datetime


async def record(scope: Scope, entries: Sequence[Entry]) -> None:
    """Add the entries to the scope's tenant, in one statement and in the transaction of what they tell of."""
    if not entries:
        return
    await scope.connection.execute(
        _WRITE,
        scope.tenant_id,
        scope.now,
        [uuid7(scope.now) for _ in entries],
        [entry.actor for entry in entries],
        [entry.verb for entry in entries],
        [entry.reason for entry in entries],
        [entry.filter and entry.filter[:FILTER_CHARACTERS_MAX] for entry in entries],
        [entry.replay_id for entry in entries],
        [entry.letter_id for entry in entries],
        [str(entry.outcome) for entry in entries],
        [entry.detail[:DETAIL_CHARACTERS_MAX] for entry in entries],
        [entry.is_copy for entry in entries],
    )


async def read(scope: Scope, ids: Sequence[UUID]) -> list[Kept]:
    """These entries of the scope's tenant, newest first; those that are another's are not there."""
    return [Kept(**dict(row)) for row in await scope.connection.fetch(_READ, scope.tenant_id, list(ids))]
