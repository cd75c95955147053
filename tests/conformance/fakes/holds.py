"""The repositories of stock, quota and ledger in memory. tests/conformance/test_holds.py proves that they keep the real ones' promise."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from contracts.inventory import ReleaseStock, ReserveStock
from contracts.messages import Envelope
from contracts.orders import OrderCompleted
from contracts.tenants import ChargeOrder, RefundOrder, ReleaseQuota, ReserveQuota
from contracts.values import OrderId, ShopId, Sku, TenantId
from infra.transaction import Scope
from services.inventory import model as inventory
from services.tenants import model as tenants
from services.tenants.ledger import Entry, Kind, Ledger
from services.tenants.usage import Limits, Month, Usage, month_of


@dataclass
class FakeScope:
    """As much of a scope as a repository in memory needs."""

    tenant_id: TenantId
    now: datetime


@asynccontextmanager
async def in_memory(tenant_id: TenantId) -> AsyncIterator[Scope]:
    """The transaction of a repository in memory."""
    yield cast(Scope, FakeScope(tenant_id, datetime(2026, 11, 23, 12, tzinfo=UTC)))


@dataclass
class Shelves:
    """Each tenant's stock levels and holds."""

    levels: dict[TenantId, dict[tuple[ShopId, Sku], inventory.Level]] = field(default_factory=dict)
    holds: dict[TenantId, dict[OrderId, inventory.Hold]] = field(default_factory=dict)

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> inventory.Shelf:
        holds = self.holds.setdefault(scope.tenant_id, {})
        for message in (envelope.data for envelope in received):
            if isinstance(message, ReserveStock | ReleaseStock):
                holds.setdefault(message.order_id, inventory.Hold(message.order_id))
        orders = {message.order_id for message in (envelope.data for envelope in received) if isinstance(message, _OF_STOCK)}
        loaded = {order: deepcopy(hold) for order, hold in holds.items() if order in orders}
        return inventory.Shelf(scope.tenant_id, deepcopy(self.levels.get(scope.tenant_id, {})), loaded)

    async def save(self, scope: Scope, state: inventory.Shelf) -> None:
        self.levels.setdefault(scope.tenant_id, {}).update(state.levels)
        self.holds.setdefault(scope.tenant_id, {}).update(state.holds)


@dataclass
class Quotas:
    """Each tenant's limits, months, holds and ledger."""

    limits: dict[TenantId, Limits] = field(default_factory=dict)
    months: dict[TenantId, dict[Month, Usage]] = field(default_factory=dict)
    holds: dict[TenantId, dict[OrderId, tenants.Hold]] = field(default_factory=dict)
    entries: dict[TenantId, list[Entry]] = field(default_factory=dict)

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> tenants.Quota:
        holds, months = self.holds.setdefault(scope.tenant_id, {}), self.months.setdefault(scope.tenant_id, {})
        messages = [envelope.data for envelope in received]
        for message in messages:
            if isinstance(message, ReserveQuota | ReleaseQuota | ChargeOrder | RefundOrder):
                holds.setdefault(message.order_id, tenants.Hold(message.order_id))
            if isinstance(message, ReserveQuota | ChargeOrder):
                month = month_of(message.placed_at)
                months.setdefault(month, Usage(month))
        orders = {message.order_id for message in messages if isinstance(message, _OF_QUOTA)}
        loaded = {order: deepcopy(hold) for order, hold in holds.items() if order in orders}
        return tenants.Quota(self.limits.get(scope.tenant_id), deepcopy(months), loaded, Ledger(self._charges(scope.tenant_id)))

    async def save(self, scope: Scope, state: tenants.Quota) -> None:
        self.months.setdefault(scope.tenant_id, {}).update(state.months)
        self.holds.setdefault(scope.tenant_id, {}).update(state.holds)
        self.entries.setdefault(scope.tenant_id, []).extend(state.ledger.entered)

    def _charges(self, tenant_id: TenantId) -> dict[OrderId, tuple[Entry, ...]]:
        charges: dict[OrderId, tuple[Entry, ...]] = {}
        for entry in self.entries.get(tenant_id, ()):
            if entry.kind is Kind.CHARGE:
                charges[entry.order_id] = (*charges.get(entry.order_id, ()), entry)
        return charges


_OF_STOCK = (ReserveStock, ReleaseStock, OrderCompleted)
_OF_QUOTA = (ReserveQuota, ReleaseQuota, ChargeOrder, RefundOrder, OrderCompleted)
