"""All SQL of tenants: the quota for a group of commands, and single rows for the API.

Lock order inside a tenant: holds sorted by order, then quota rows sorted by month, each once per group. Ask and undo of an
order both put its hold row there first (state NEW, nothing held) and then lock it, so whichever commits first is seen by
the other. However many commands a group has, it costs at most five statements to load and two to save. The tenant's own
row is read, not locked: an order decided on while its tenant is being suspended may go either way.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlmodel import col, select

from contracts.messages import Envelope
from contracts.orders import OrderCompleted
from contracts.tenants import ReleaseQuota, ReserveQuota
from contracts.values import OrderId
from infra.rows import require_updated
from infra.transaction import Scope
from services.tenants.model import Hold, HoldState, Limits, Month, Quota, QuotaMonth, Tenant, Usage, month_of

STEP: Final = "reserve-quota"
"""The saga's step that the holds belong to."""

_ADD_HOLDS: Final = """
    INSERT INTO tenants.quota_hold (tenant_id, order_id, step, state, created_at, changed_at)
    SELECT $1::uuid, asked.order_id, $3::text, 'NEW', $4::timestamptz, $4::timestamptz FROM unnest($2::uuid[]) AS asked (order_id)
    ORDER BY asked.order_id
    ON CONFLICT (tenant_id, order_id, step) DO NOTHING"""

_LOCK_HOLDS: Final = """
    SELECT order_id, state, month, pence FROM tenants.quota_hold
    WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) AND step = $3
    ORDER BY order_id FOR UPDATE"""

_LIMITS: Final = "SELECT orders_per_month, spending_limit_pence FROM tenants.tenant WHERE tenant_id = $1 AND status = 'ACTIVE'"

_ADD_MONTHS: Final = """
    INSERT INTO tenants.quota (tenant_id, month, orders_held, orders_settled, pence_held, pence_settled, changed_at)
    SELECT $1::uuid, asked.month, 0, 0, 0, 0, $3::timestamptz FROM unnest($2::text[]) AS asked (month)
    ORDER BY asked.month
    ON CONFLICT (tenant_id, month) DO NOTHING"""

_LOCK_MONTHS: Final = """
    SELECT month, orders_held, orders_settled, pence_held, pence_settled FROM tenants.quota
    WHERE tenant_id = $1 AND month = ANY($2::text[])
    ORDER BY month FOR UPDATE"""

_SAVE_MONTHS: Final = """
    UPDATE tenants.quota
    SET orders_held = usage.orders_held, orders_settled = usage.orders_settled,
        pence_held = usage.pence_held, pence_settled = usage.pence_settled, changed_at = $7
    FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
      AS usage (month, orders_held, orders_settled, pence_held, pence_settled)
    WHERE quota.tenant_id = $1 AND quota.month = usage.month"""

_SAVE_HOLDS: Final = """
    UPDATE tenants.quota_hold SET state = hold.state, month = hold.month, pence = hold.pence, changed_at = $7
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[]) AS hold (order_id, state, month, pence)
    WHERE quota_hold.tenant_id = $1 AND quota_hold.step = $2 AND quota_hold.order_id = hold.order_id"""


class QuotaRepository:
    """Loads the holds and months that a group of commands is about, locked, and saves those that changed."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Quota:
        messages = [envelope.data for envelope in received]
        asked = {month_of(message.placed_at) for message in messages if isinstance(message, ReserveQuota)}
        noted = sorted({message.order_id for message in messages if isinstance(message, ReserveQuota | ReleaseQuota)})
        orders = sorted({*noted, *(message.order_id for message in messages if isinstance(message, OrderCompleted))})
        if noted:
            await scope.connection.execute(_ADD_HOLDS, scope.tenant_id, noted, STEP, scope.now)
        holds = await _lock_holds(scope, orders)
        limits = await _limits(scope) if asked else None
        if limits is not None:
            await scope.connection.execute(_ADD_MONTHS, scope.tenant_id, sorted(asked), scope.now)
        held = {hold.month for hold in holds.values() if hold.month is not None and hold.state is HoldState.HELD}
        return Quota(limits, await _lock_months(scope, asked | held), holds)

    async def save(self, scope: Scope, state: Quota) -> None:
        """Raises LockedRowMissing."""
        await _save_months(scope, [usage for usage in state.months.values() if usage.changed])
        await _save_holds(scope, [hold for hold in state.holds.values() if hold.changed])


async def _lock_holds(scope: Scope, orders: Sequence[OrderId]) -> dict[OrderId, Hold]:
    rows = await scope.connection.fetch(_LOCK_HOLDS, scope.tenant_id, orders, STEP)
    return {row["order_id"]: Hold(row["order_id"], HoldState(row["state"]), row["month"], row["pence"]) for row in rows}


async def _limits(scope: Scope) -> Limits | None:
    row = await scope.connection.fetchrow(_LIMITS, scope.tenant_id)
    return None if row is None else Limits(row["orders_per_month"], row["spending_limit_pence"])


async def _lock_months(scope: Scope, wanted: Iterable[Month]) -> dict[Month, Usage]:
    months = sorted(wanted)
    rows = await scope.connection.fetch(_LOCK_MONTHS, scope.tenant_id, months) if months else []
    return {
        row["month"]: Usage(row["month"], row["orders_held"], row["orders_settled"], row["pence_held"], row["pence_settled"])
        for row in rows
    }


async def _save_months(scope: Scope, months: Sequence[Usage]) -> None:
    if not months:
        return
    done = await scope.connection.execute(
        _SAVE_MONTHS,
        scope.tenant_id,
        [usage.month for usage in months],
        [usage.orders_held for usage in months],
        [usage.orders_settled for usage in months],
        [usage.pence_held for usage in months],
        [usage.pence_settled for usage in months],
        scope.now,
    )
    require_updated(done, len(months))


async def _save_holds(scope: Scope, holds: Sequence[Hold]) -> None:
    if not holds:
        return
    done = await scope.connection.execute(
        _SAVE_HOLDS,
        scope.tenant_id,
        STEP,
        [hold.order_id for hold in holds],
        [hold.state.value for hold in holds],
        [hold.month for hold in holds],
        [hold.pence for hold in holds],
        scope.now,
    )
    require_updated(done, len(holds))


async def add_tenant(scope: Scope, tenant: Tenant) -> None:
    scope.session.add(tenant)
    await scope.session.flush()


async def find_tenant(scope: Scope, *, to_change: bool = False) -> Tenant | None:
    """The tenant whose scope this is; with `to_change` its row is locked."""
    query = select(Tenant).where(col(Tenant.tenant_id) == scope.tenant_id)
    found = await scope.session.exec(query.with_for_update(key_share=True) if to_change else query)
    return found.one_or_none()


async def find_usage(scope: Scope, month: Month) -> QuotaMonth:
    """What the month's orders use; nothing if there were none."""
    query = select(QuotaMonth).where(col(QuotaMonth.tenant_id) == scope.tenant_id, col(QuotaMonth.month) == month)
    found = (await scope.session.exec(query)).one_or_none()
    return found or QuotaMonth(tenant_id=scope.tenant_id, month=month, changed_at=scope.now)
