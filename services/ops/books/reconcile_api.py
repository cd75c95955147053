"""HTTP in for operators who look whether the services' books agree, and mend what does not. No decisions."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra.clock import now
from infra.http import FieldError, Problem
from infra.http.auth import Operator, operator_with
from infra.reconcile import known_tenants, open_keepers
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.findings import OpenFindings
from services.ops.books import findings
from services.ops.books.comparing import Comparing, Look
from services.ops.books.findings import Part
from services.ops.books.mending_books import Asked, Mending, NotConfirmed, NotMended
from services.ops.books.reconcile_views import (
    Acted,
    ActOnFinding,
    Compare,
    ComparedView,
    Findings,
    FindingsQuery,
    FindingView,
    Mend,
    Mended,
)
from services.ops.books.rounds import keep

T = TypeVar("T")
Ops = Annotated[Operator, Depends(operator_with("ops"))]
_CALL_S: Final = 10.0
"""How long one call looks at more orders and tenants; the caller goes on after it. Callers wait for a minute, and a call takes as long
again for its second look, if everything is wrong, besides finding out which orders there are."""


def routes(transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> APIRouter:
    """The routes under /v1/ops/reconcile.

    The keepers' connections are opened in each call that needs them: operators compare a few times a day, and ten connections that
    idle in every process of the API would cost more than opening some.
    """
    own = APIRouter(prefix="/v1/ops/reconcile", tags=["operators"])
    known = OpenFindings(sweeper_pool)

    @own.get("", summary="What is known to be wrong with the services' books")
    async def list_findings(operator: Ops, query: Annotated[FindingsQuery, Query()]) -> Findings:
        """As it was when they were compared last; POST compares them now."""
        only = operator.tenant_for(query.tenant)
        tenants = await known.tenants() if only is None else [only]
        return Findings(findings=[view for one in tenants for view in await _kept(transaction, one, Part())])

    @own.post("", summary="Compare the services' books now")
    async def compare(operator: Ops, body: Compare) -> ComparedView:
        """Some tenants in each call, or some orders of one, until `next` is null. Nothing is changed."""
        only = operator.tenant_for(body.tenant)
        if body.order is not None and only is None:
            raise Problem(422, "Not valid", "Wrong: tenant", errors=[FieldError(field="tenant", message="is missing: whose order is it?")])
        async with open_keepers(settings) as keepers:
            tenants = [only] if only is not None else _from(await known_tenants(keepers), body)
            return await _compared(Comparing(keepers, transaction, settings), transaction, tenants, body)

    @own.post("/mend", summary="Mend one thing")
    async def mend(operator: Ops, body: Mend) -> Mended:
        """By the service that owns it, in its own transaction.

        409 if it is not there any more, is not to be mended like that, or does what `confirm` does not name.
        """
        asked = replace(_asked(operator, body), confirm=body.confirm)
        async with open_keepers(settings) as keepers:
            mending = Mending(keepers, transaction, settings)
            if not body.dry_run:
                return Mended(done=await _told(mending.mend(asked, now())))
            found = await _told(mending.foresee(asked, now()))
            return Mended(done=None, mending=found.mending, confirm=found.confirm)

    @own.post("/accept", summary="Accept that one thing stays as it is")
    async def accept(operator: Ops, body: ActOnFinding) -> Acted:
        """It is still shown, and counts no more until it changes."""
        asked = _asked(operator, body)
        async with open_keepers(settings) as keepers:
            return Acted(done=await _told(Mending(keepers, transaction, settings).accept(asked, now())))

    return own


def _from(tenants: Sequence[TenantId], body: Compare) -> list[TenantId]:
    """Those that are left, the one that was begun with first."""
    if body.after is None:
        return list(tenants)
    return [one for one in tenants if one > body.after or (one == body.after and body.after_order is not None)]


async def _compared(comparing: Comparing, transaction: Transactions, tenants: Sequence[TenantId], body: Compare) -> ComparedView:
    looks: list[Look] = []
    until_s = asyncio.get_running_loop().time() + _CALL_S
    left_s = _CALL_S
    for tenant_id in tenants:
        after = None if looks else body.after_order
        looks.append(await comparing.look(tenant_id, now(), body.order, after=after, for_s=left_s))
        left_s = until_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            break
    answer = ComparedView(findings=[], orders=0, tenants=0, left=len(tenants), next=None, cut=[])
    for compared in await comparing.settle(looks):
        look = compared.look
        await keep(transaction, compared)
        answer.findings += await _kept(transaction, look.tenant_id, look.part)
        answer.orders += compared.orders
        is_done = look.next is None
        answer.tenants, answer.left = answer.tenants + is_done, answer.left - is_done
        answer.cut += [look.tenant_id] if look.is_cut and is_done else []
        answer.next_order = look.next
    answer.next = looks[-1].tenant_id if answer.left else None
    return answer


async def _kept(transaction: Transactions, tenant_id: TenantId, part: Part) -> list[FindingView]:
    async with transaction(tenant_id) as scope:
        return [FindingView.of(one) for one in await findings.open_in(scope, part)]


def _asked(operator: Operator, body: ActOnFinding) -> Asked:
    operator.tenant_for(body.tenant)
    return Asked(tenant_id=body.tenant, kind=body.kind, key=body.key, actor=operator.subject, reason=body.reason)


async def _told(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except NotMended as refused:
        raise Problem(409, "Not confirmed" if isinstance(refused, NotConfirmed) else "Not mended", str(refused)) from refused
