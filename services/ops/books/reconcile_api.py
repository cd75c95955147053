"""HTTP in for operators who look whether the services' books agree, and mend what does not. No decisions."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.values import TenantId
from infra.clock import now
from infra.http import FieldError, Problem
from infra.http.auth import Operator, operator_with
from infra.reconcile import Keepers, known_tenants, open_keepers
from infra.settings import Settings
from infra.transaction import Transactions
from infra.unscoped.findings import OpenFindings
from services.ops.books import findings
from services.ops.books.comparing import Comparing
from services.ops.books.mending_books import Asked, Mending, NotMended
from services.ops.books.reconcile_views import ActOnFinding, Compare, ComparedView, Findings, FindingsQuery, FindingView, Mended
from services.ops.books.rounds import compare_and_keep

Ops = Annotated[Operator, Depends(operator_with("ops"))]
_CALL_S: Final = 5.0
"""How long one call goes on to the next tenant; the caller goes on after it."""


def routes(transaction: Transactions, sweeper_pool: AsyncEngine, settings: Settings) -> APIRouter:
    """The routes under /v1/ops/reconcile."""
    own = APIRouter(prefix="/v1/ops/reconcile", tags=["operators"])
    known = OpenFindings(sweeper_pool)

    @own.get("", summary="What is known to be wrong with the services' books")
    async def list_findings(operator: Ops, query: Annotated[FindingsQuery, Query()]) -> Findings:
        """As it was when they were compared last; POST compares them now."""
        only = operator.tenant_for(query.tenant)
        tenants = await known.tenants() if only is None else [only]
        return Findings(findings=[view for one in tenants for view in await _kept(transaction, one)])

    @own.post("", summary="Compare the services' books now")
    async def compare(operator: Ops, body: Compare) -> ComparedView:
        """Some tenants in each call, until `next` is null. Nothing is changed."""
        only = operator.tenant_for(body.tenant)
        if body.order is not None and only is None:
            raise Problem(422, "Not valid", "Wrong: tenant", errors=[FieldError(field="tenant", message="is missing: whose order is it?")])
        async with open_keepers(settings) as keepers:
            tenants = (
                [only] if only is not None else [one for one in await known_tenants(keepers) if body.after is None or one > body.after]
            )
            return await _compared(keepers, transaction, settings, tenants, body.order)

    @own.post("/mend", summary="Mend one thing")
    async def mend(operator: Ops, body: ActOnFinding) -> Mended:
        """By the service that owns it, in its own transaction; 409 if it is not there any more, or not to be mended like that."""
        asked = _asked(operator, body)
        async with open_keepers(settings) as keepers:
            return await _told(Mending(keepers, transaction, settings).mend(asked, now()))

    @own.post("/accept", summary="Accept that one thing stays as it is")
    async def accept(operator: Ops, body: ActOnFinding) -> Mended:
        """It is still shown, and counts no more until it changes."""
        asked = _asked(operator, body)
        async with open_keepers(settings) as keepers:
            return await _told(Mending(keepers, transaction, settings).accept(asked, now()))

    return own


async def _compared(
    keepers: Keepers, transaction: Transactions, settings: Settings, tenants: list[TenantId], key: str | None
) -> ComparedView:
    comparing = Comparing(keepers, transaction, settings)
    answer = ComparedView(findings=[], orders=0, tenants=0, left=len(tenants), next=None, cut=[])
    until = asyncio.get_running_loop().time() + _CALL_S
    for tenant_id in tenants:
        compared = await compare_and_keep(comparing, transaction, tenant_id, key)
        answer.findings += [view for view in await _kept(transaction, tenant_id) if key in (None, view.key)]
        answer.orders += compared.orders
        answer.tenants, answer.left = answer.tenants + 1, answer.left - 1
        answer.cut += [tenant_id] if compared.is_cut else []
        if answer.left and asyncio.get_running_loop().time() >= until:
            answer.next = tenant_id
            break
    return answer


async def _kept(transaction: Transactions, tenant_id: TenantId) -> list[FindingView]:
    async with transaction(tenant_id) as scope:
        return [FindingView.of(one) for one in await findings.open_in(scope)]


def _asked(operator: Operator, body: ActOnFinding) -> Asked:
    operator.tenant_for(body.tenant)
    return Asked(tenant_id=body.tenant, kind=body.kind, key=body.key, actor=operator.subject, reason=body.reason)


async def _told(work: Coroutine[Any, Any, str]) -> Mended:
    try:
        return Mended(done=await work)
    except NotMended as refused:
        raise Problem(409, "Not mended", str(refused)) from refused
