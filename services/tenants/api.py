"""Tenants over HTTP, for the platform's administrators: request -> repository and model -> status. No decisions.

An administrator belongs to no tenant; each request works inside the one tenant that its path names.
"""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

from contracts.values import Pence, TenantId, VatRate
from infra.http import Problem, decode_cursor, encode_cursor
from infra.http.auth import administrator_with
from infra.settings import Settings
from infra.transaction import Scope, Transactions
from services.tenants import repository
from services.tenants.ledger import Kind
from services.tenants.model import Tenant, TenantStatus
from services.tenants.usage import Month, month_of

ORDERS_PER_MONTH_MAX: Final = 1_000_000_000

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
InMonth = Annotated[str | None, Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="usage of that month (UTC), such as 2026-11")]
Limit = Annotated[int, Query(ge=1, le=200, description="how many items at most")]


class NewTenant(BaseModel):
    """The limits are per calendar month (UTC), inclusive."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    orders_per_month: Annotated[int, Strict(), Field(ge=0, le=ORDERS_PER_MONTH_MAX)]
    spending_limit_pence: Annotated[Pence, Strict()]


class UsageView(BaseModel):
    """What the orders of one month hold and have settled, and what the ledger says of them.

    `pence_open` is held or settled and not in the ledger; charged - refunded + open is what counts against the spending limit.
    """

    month: str
    orders_held: int
    orders_settled: int
    pence_held: int
    pence_settled: int
    pence_charged: int
    pence_refunded: int
    pence_open: int


class TenantView(BaseModel):
    id: UUID
    name: str
    status: TenantStatus
    orders_per_month: int
    spending_limit_pence: int
    usage: UsageView


class TransactionView(BaseModel):
    """An entry of the ledger, VAT included; a refund's amounts are below zero. `month` is the month it counts in."""

    id: UUID
    order_id: UUID
    kind: Kind
    vat_rate: VatRate
    amount_pence: int
    vat_pence: int
    month: str
    reference: str
    entered_at: datetime


class TransactionPage(BaseModel):
    items: list[TransactionView]
    next: str | None = Field(description="send it as `cursor` for the following page; null on the last one")


def router(transaction: Transactions, _settings: Settings) -> APIRouter:
    """The routes of tenants, on the given way to its database."""
    routes = APIRouter(prefix="/v1", dependencies=[Depends(administrator_with("tenants:admin"))])

    @routes.post("/tenants", status_code=201)
    async def add_tenant(body: NewTenant, response: Response) -> TenantView:
        async with transaction(TenantId(uuid4())) as scope:
            tenant = Tenant(tenant_id=scope.tenant_id, **body.model_dump(), created_at=scope.now, changed_at=scope.now)
            await repository.add_tenant(scope, tenant)
            view = await _view(scope, tenant)
        response.headers["Location"] = f"/v1/tenants/{tenant.tenant_id}"
        return view

    @routes.get("/tenants/{tenant_id}")
    async def get_tenant(tenant_id: UUID, month: InMonth = None) -> TenantView:
        async with transaction(TenantId(tenant_id)) as scope:
            return await _view(scope, await _known_tenant(scope), None if month is None else Month(month))

    @routes.post("/tenants/{tenant_id}/suspend")
    async def suspend_tenant(tenant_id: UUID) -> TenantView:
        return await _set_status(transaction, TenantId(tenant_id), TenantStatus.SUSPENDED)

    @routes.post("/tenants/{tenant_id}/resume")
    async def resume_tenant(tenant_id: UUID) -> TenantView:
        return await _set_status(transaction, TenantId(tenant_id), TenantStatus.ACTIVE)

    _ledger(routes, transaction)
    return routes


def _ledger(routes: APIRouter, transaction: Transactions) -> None:
    @routes.get("/tenants/{tenant_id}/transactions")
    async def list_transactions(
        tenant_id: UUID, order_id: UUID | None = None, cursor: str | None = None, limit: Limit = 50
    ) -> TransactionPage:
        """The ledger, newest first."""
        before = None if cursor is None else decode_cursor(cursor)
        async with transaction(TenantId(tenant_id)) as scope:
            await _known_tenant(scope)
            entries = await repository.list_transactions(scope, order_id, before, limit)
        following = encode_cursor(entries[-1].entered_at, entries[-1].id) if len(entries) == limit else None
        return TransactionPage(items=[TransactionView.model_validate(entry, from_attributes=True) for entry in entries], next=following)


async def _set_status(transaction: Transactions, tenant_id: TenantId, status: TenantStatus) -> TenantView:
    async with transaction(tenant_id) as scope:
        tenant = await _known_tenant(scope, to_change=True)
        tenant.become(status, scope.now)
        return await _view(scope, tenant)


async def _known_tenant(scope: Scope, *, to_change: bool = False) -> Tenant:
    tenant = await repository.find_tenant(scope, to_change=to_change)
    if tenant is None:
        raise Problem(404, "Unknown tenant", f"there is no tenant {scope.tenant_id}")
    return tenant


async def _view(scope: Scope, tenant: Tenant, month: Month | None = None) -> TenantView:
    usage = await repository.find_usage(scope, month or month_of(scope.now))
    return TenantView(
        id=tenant.tenant_id,
        name=tenant.name,
        status=TenantStatus(tenant.status),
        orders_per_month=tenant.orders_per_month,
        spending_limit_pence=tenant.spending_limit_pence,
        usage=UsageView(
            **usage.model_dump(exclude={"tenant_id", "changed_at", "pence_covered"}),
            pence_open=usage.pence_held + usage.pence_settled - usage.pence_covered,
        ),
    )
