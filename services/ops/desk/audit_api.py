"""HTTP in for operators who want to know who did what. No decisions."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra.http import Timestamp, decode_cursor, encode_cursor
from infra.http.auth import Operator, operator_with
from infra.transaction import Transactions
from infra.unscoped.findings import AuditSearch, FoundEntry, WantedEntries
from services.ops.desk import auditing
from services.ops.desk.masking import masked_text

Ops = Annotated[Operator, Depends(operator_with("ops"))]


class What(StrEnum):
    """Which entries."""

    ACTS = "ACTS"
    """What was done, or tried."""
    OUTCOMES = "OUTCOMES"
    """What came of each letter of a replay."""


class AuditQuery(BaseModel):
    """A page of the audit; of one tenant, letter or replay if it is given."""

    model_config = ConfigDict(extra="forbid")

    tenant: TenantId | None = None
    letter: UUID | None = None
    replay: UUID | None = None
    what: What | None = Field(None, description="by default both of a letter or a replay, and otherwise only what was done")
    cursor: str | None = None
    limit: int = Field(50, ge=1, le=200, description="how many items at most")

    def wanted(self, operator: Operator) -> WantedEntries:
        """The same for the search, within what the operator may see; raises Problem(403) for another tenant than a tenant's operator's."""
        # Between the outcomes of thousands of letters nobody would find what was done.
        asked = self.what or (What.ACTS if self.letter is None and self.replay is None else None)
        outcomes = None if asked is None else asked is What.OUTCOMES
        return WantedEntries(tenant_id=operator.tenant_for(self.tenant), letter_id=self.letter, replay_id=self.replay, outcomes=outcomes)


class EntryView(BaseModel):
    """One attempt on one thing, whatever came of it."""

    id: UUID
    tenant: TenantId = Field(description="whose letter or order it was about; all zeros: nobody's")
    at: Timestamp
    actor: str
    verb: str
    reason: str
    filter: str | None
    letter: UUID | None
    replay: UUID | None
    outcome: str = Field(description="DONE, REFUSED, MOVED or FAILED; of a replayed letter SETTLED, KNOWN, FAILED, LEFT_OUT or CANCELLED")
    detail: str


class AuditPage(BaseModel):
    """Entries, the newest first."""

    entries: list[EntryView]
    next: str | None


def add_audit(routes: APIRouter, transaction: Transactions, sweeper_pool: AsyncEngine) -> None:
    """The route `/audit`. It stands before routes that take a letter's id in its place."""
    search = AuditSearch(sweeper_pool)

    @routes.get("/audit", summary="Who did what, or was refused it")
    async def list_audit(operator: Ops, query: Annotated[AuditQuery, Query()]) -> AuditPage:
        """The newest first. Nobody can change or delete an entry."""
        after = None if query.cursor is None else decode_cursor(query.cursor)
        found = await search.page(query.wanted(operator), after, query.limit)
        following = encode_cursor(found[-1].at, found[-1].id) if len(found) == query.limit else None
        return AuditPage(entries=await _read(transaction, found), next=following)


async def _read(transaction: Transactions, found: list[FoundEntry]) -> list[EntryView]:
    by_tenant: dict[TenantId, list[UUID]] = {}
    for one in found:
        by_tenant.setdefault(one.tenant_id, []).append(one.id)
    views: dict[UUID, EntryView] = {}
    for tenant_id, ids in sorted(by_tenant.items()):
        async with transaction(tenant_id) as scope:
            views |= {entry.id: _view(entry) for entry in await auditing.read(scope, ids)}
    return [views[one.id] for one in found]


def _view(kept: auditing.Kept) -> EntryView:
    return EntryView(
        id=kept.id,
        tenant=kept.tenant_id,
        at=kept.at,
        actor=kept.actor,
        verb=kept.verb,
        reason=kept.reason,
        filter=kept.filter,
        letter=kept.letter_id,
        replay=kept.replay_id,
        outcome=kept.outcome,
        detail=masked_text(kept.detail),
    )
