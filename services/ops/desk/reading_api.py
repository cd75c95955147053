"""HTTP in for operators who look: which letters there are, their causes, and one as a whole. No decisions.

What there is in all tenants is found by the search; what letters say and why they died is read inside their tenant.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra.http import Problem, decode_cursor, encode_cursor
from infra.http.auth import Operator, operator_with
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.letters import LetterSearch
from services.ops.desk import letters
from services.ops.desk.masking import masked_text
from services.ops.desk.searching import LetterFilter, LetterQuery
from services.ops.desk.views import GroupsView, LetterPage, LetterView, WholeView

Ops = Annotated[Operator, Depends(operator_with("ops"))]
_SAGA: Final = "SELECT id, name, version, state, step, fingerprint, why, at FROM ops.saga WHERE tenant_id = $1 AND id = $2"


def lists(transaction: Transactions, sweeper_pool: AsyncEngine) -> APIRouter:
    """The routes that find letters."""
    routes = APIRouter(prefix="/v1/ops/dead-letters", tags=["dead letters"])
    search = LetterSearch(sweeper_pool)

    @routes.get("", summary="Dead letters, those that died last first")
    async def list_letters(operator: Ops, query: Annotated[LetterQuery, Query()]) -> LetterPage:
        """Those that somebody has to see to, unless a state is asked for. One that dies again meanwhile may be met twice or not at all."""
        after = None if query.cursor is None else decode_cursor(query.cursor)
        found = await search.page(await query.wanted(operator, search), after, query.limit)
        following = encode_cursor(found[-1].died_at, found[-1].id) if len(found) == query.limit else None
        return LetterPage(letters=[LetterView.of(one) for one in found], next=following)

    @routes.get("/groups", summary="Dead letters by their cause, the largest groups first")
    async def list_groups(operator: Ops, query: Annotated[LetterFilter, Query()]) -> GroupsView:
        """How many letters each cause has, since when, of whom, and one of them."""
        found = await search.groups(await query.wanted(operator, search))
        return GroupsView.of(found, await _errors(transaction, [group.sample for group in found.groups]))

    return routes


def one(transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> APIRouter:
    """The route of one letter. It comes after every other under /v1/ops/dead-letters, whose words are no ids."""
    routes = APIRouter(prefix="/v1/ops/dead-letters", tags=["dead letters"])
    search = LetterSearch(sweeper_pool)

    @routes.get("/{letter_id}", summary="One dead letter as a whole")
    async def show_letter(operator: Ops, letter_id: UUID) -> WholeView:
        """What it says, why it died, how its saga stands, and what was done about it."""
        tenant_id = await search.tenant_of(letter_id, operator.tenant_id)
        if tenant_id is None:
            raise unknown(letter_id)
        return await look(transaction, tenant_id, letter_id, settings)

    return routes


async def look(transaction: Transactions, tenant_id: TenantId, letter_id: UUID, settings: Settings) -> WholeView:
    """The letter as it stands; raises Problem(404) if the tenant has none of this id."""
    async with transaction(tenant_id) as scope:
        whole = await letters.whole(scope, letter_id)
        if whole is None:
            raise unknown(letter_id)
        saga = await scope.connection.fetchrow(_SAGA, tenant_id, whole.letter.saga_id) if whole.letter.saga_id else None
        return WholeView.whole(whole, saga, scope.now, timedelta(days=settings.dead_letter_keep_days))


def unknown(letter_id: UUID) -> Problem:
    """There is none of this id, or it is not the operator's."""
    return Problem(404, "Unknown letter", f"there is no dead letter {letter_id}; `oaas dead-letters list` lists them")


async def _errors(transaction: Transactions, samples: Sequence[tuple[TenantId, UUID]]) -> dict[UUID, str]:
    by_tenant: dict[TenantId, list[UUID]] = {}
    for tenant_id, id in samples:
        by_tenant.setdefault(tenant_id, []).append(id)
    errors: dict[UUID, str] = {}
    async with transaction.batch() as batch:
        for tenant_id, ids in sorted(by_tenant.items()):
            async with batch.scope(tenant_id) as scope:
                errors |= {id: masked_text(letter.error) for id, letter in (await letters.find(scope, ids)).items()}
    return errors
