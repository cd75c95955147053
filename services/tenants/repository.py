"""All SQL of tenants: the quota for a group of commands, and single rows for the API.

Lock order inside a tenant: holds sorted by order, then quota rows sorted by month, each once per group. All commands about an
order, asks and undos of quota and ledger alike, put its one hold row there first (state NEW, nothing held, nothing charged) and then
lock it, so whichever commits first is seen by the other. The ledger needs no lock: an order's entries are added under its hold's.
However many commands a group has, it costs at most five statements to load, which travel together, and one to save. The tenant's own
row is read, not locked: an order decided on while its tenant is being suspended may go either way.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlmodel import col, select, tuple_

from contracts.messages import Envelope
from contracts.orders import OrderCompleted
from contracts.tenants import ChargeOrder, RefundOrder, ReleaseQuota, ReserveQuota
from contracts.values import OrderId, TenantId, VatRate
from infra.holds import Holds
from infra.transaction import Scope
from infra.wire_values import Row
from services.tenants.ledger import ChargeState, Entry, Kind, Ledger
from services.tenants.model import FinancialTransaction, Hold, HoldState, Quota, QuotaMonth, Tenant
from services.tenants.usage import Limits, Month, Usage, month_of

STEP: Final = "reserve-quota"
"""The saga's step that the holds belong to. The charge of an order is noted on the same row."""

_HOLDS: Final = Holds("tenants.quota_hold", STEP, "state, month, pence, charge")

_LIMITS: Final = "SELECT orders_per_month, spending_limit_pence FROM tenants.tenant WHERE tenant_id = $1 AND status = 'ACTIVE'"

_ADD_MONTHS: Final = """
    INSERT INTO tenants.quota (tenant_id, month, orders_held, orders_settled, pence_held, pence_settled, changed_at)
    SELECT $1::uuid, asked.month, 0, 0, 0, 0, $3::timestamptz FROM unnest($2::text[]) AS asked (month)
    WHERE EXISTS (SELECT FROM tenants.tenant WHERE tenant_id = $1 AND status = 'ACTIVE')
    ORDER BY asked.month
    ON CONFLICT (tenant_id, month) DO NOTHING"""

_LOCK_MONTHS: Final = """
    SELECT month, orders_held, orders_settled, pence_held, pence_settled, pence_charged, pence_refunded, pence_covered
    FROM tenants.quota
    WHERE tenant_id = $1 AND (month = ANY($2::text[])
        OR month IN (SELECT month FROM tenants.quota_hold WHERE tenant_id = $1 AND order_id = ANY($3::uuid[]) AND step = $4)
        OR month IN (SELECT month FROM tenants.financial_transactions
            WHERE tenant_id = $1 AND order_id = ANY($5::uuid[]) AND kind = 'CHARGE'))
    ORDER BY month FOR UPDATE"""
"""Those that are asked for, those that these orders use, and those in which those that are refunded were charged."""

_CHARGES: Final = """
    SELECT order_id, vat_rate, amount_pence, vat_pence, month FROM tenants.financial_transactions
    WHERE tenant_id = $1 AND order_id = ANY($2::uuid[]) AND kind = 'CHARGE'"""

_SAVE_MONTHS: Final = """
    UPDATE tenants.quota
    SET orders_held = usage.orders_held, orders_settled = usage.orders_settled,
        pence_held = usage.pence_held, pence_settled = usage.pence_settled,
        pence_charged = usage.pence_charged, pence_refunded = usage.pence_refunded, pence_covered = usage.pence_covered, changed_at = $10
    FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
      AS usage (month, orders_held, orders_settled, pence_held, pence_settled, pence_charged, pence_refunded, pence_covered)
    WHERE quota.tenant_id = $1 AND quota.month = usage.month"""

_SAVE_HOLDS: Final = """
    UPDATE tenants.quota_hold
    SET state = hold.state, month = hold.month, pence = hold.pence, charge = hold.charge, changed_at = $8
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[]) AS hold (order_id, state, month, pence, charge)
    WHERE quota_hold.tenant_id = $1 AND quota_hold.step = $2 AND quota_hold.order_id = hold.order_id"""

# A conflict is not expected here, and raises: whether an order was charged is decided under the lock of its hold.
_ENTER: Final = """
    INSERT INTO tenants.financial_transactions
      (tenant_id, id, order_id, kind, vat_rate, amount_pence, vat_pence, month, reference, entered_at)
    SELECT $1::uuid, entry.*, $10::timestamptz
    FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[]) AS entry"""


class QuotaRepository:
    """Loads the holds and months that a group of commands is about, locked, and saves those that changed with the new entries."""

    def __init__(self) -> None:
        # A month's row stays for ever: which ones are there need not be asked again for every group.
        self._months_there: set[tuple[TenantId, Month]] = set()

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Quota:
        messages = [envelope.data for envelope in received]
        asked = {month_of(message.placed_at) for message in messages if isinstance(message, ReserveQuota | ChargeOrder)}
        noted = {message.order_id for message in messages if isinstance(message, ReserveQuota | ReleaseQuota | ChargeOrder | RefundOrder)}
        completed = {message.order_id for message in messages if isinstance(message, OrderCompleted)}
        refunded = sorted({message.order_id for message in messages if isinstance(message, RefundOrder)})
        # All at once: the holds are locked first, then the months, whatever is asked. Locked one round trip later for one tenant than for
        # another, two batches could wait for each other.
        ask, rows = scope.connection.ask, scope.connection.rows
        holding = _HOLDS.ask(scope, noted, completed)
        limited = ask(_LIMITS, scope.tenant_id) if asked else None
        self._add_months(scope, {month for month in asked if (scope.tenant_id, month) not in self._months_there})
        charging = ask(_CHARGES, scope.tenant_id, refunded) if refunded else None
        locking = ask(_LOCK_MONTHS, scope.tenant_id, sorted(asked), sorted(noted | completed), STEP, refunded)
        limits = _limits(rows(await limited)) if limited else None
        charges = _charges(rows(await charging)) if charging else {}
        holds, months = _holds(rows(await holding)), _months(rows(await locking))
        if limits is not None and (gone := asked - months.keys()):
            # Whoever restored the database to an earlier day did not ask us.
            self._add_months(scope, gone)
            months |= _months(rows(await ask(_LOCK_MONTHS, scope.tenant_id, sorted(gone), [], STEP, [])))
        if limits is not None:
            scope.once_committed(lambda: self._months_there.update((scope.tenant_id, month) for month in asked))
        standing = {order: entries for order, entries in charges.items() if holds[order].charge is ChargeState.CHARGED}
        return Quota(limits, months, holds, Ledger(standing))

    def _add_months(self, scope: Scope, months: AbstractSet[Month]) -> None:
        """Ask for those that are not there to be put there, if the tenant is active; what is asked next sees them."""
        if months:
            scope.connection.ask(_ADD_MONTHS, scope.tenant_id, sorted(months), scope.now)

    async def save(self, scope: Scope, state: Quota) -> None:
        _save_months(scope, [usage for usage in state.months.values() if usage.changed])
        _save_holds(scope, [hold for hold in state.holds.values() if hold.changed])
        enter(scope, state.ledger.entered)


def _holds(rows: Iterable[Row]) -> dict[OrderId, Hold]:
    return {
        row["order_id"]: Hold(row["order_id"], HoldState(row["state"]), row["month"], row["pence"], ChargeState(row["charge"]))
        for row in rows
    }


def _charges(rows: Iterable[Row]) -> dict[OrderId, tuple[Entry, ...]]:
    charges: dict[OrderId, tuple[Entry, ...]] = {}
    for row in rows:
        order, rate = row["order_id"], VatRate(row["vat_rate"])
        entry = Entry(order, Kind.CHARGE, rate, row["amount_pence"], row["vat_pence"], row["month"])
        charges[order] = (*charges.get(order, ()), entry)
    return charges


def _limits(rows: Sequence[Row]) -> Limits | None:
    """None if the tenant is not active."""
    return Limits(rows[0]["orders_per_month"], rows[0]["spending_limit_pence"]) if rows else None


def _months(rows: Iterable[Row]) -> dict[Month, Usage]:
    return {row["month"]: Usage(*row) for row in rows}


def _save_months(scope: Scope, months: Sequence[Usage]) -> None:
    if not months:
        return
    scope.write(
        _SAVE_MONTHS,
        scope.tenant_id,
        [usage.month for usage in months],
        [usage.orders_held for usage in months],
        [usage.orders_settled for usage in months],
        [usage.pence_held for usage in months],
        [usage.pence_settled for usage in months],
        [usage.pence_charged for usage in months],
        [usage.pence_refunded for usage in months],
        [usage.pence_covered for usage in months],
        scope.now,
        rows=len(months),
    )


def _save_holds(scope: Scope, holds: Sequence[Hold]) -> None:
    if not holds:
        return
    scope.write(
        _SAVE_HOLDS,
        scope.tenant_id,
        STEP,
        [hold.order_id for hold in holds],
        [hold.state.value for hold in holds],
        [hold.month for hold in holds],
        [hold.pence for hold in holds],
        [hold.charge.value for hold in holds],
        scope.now,
        rows=len(holds),
    )


def enter(scope: Scope, entries: Sequence[Entry]) -> None:
    """Add the entries to the ledger."""
    if not entries:
        return
    scope.write(
        _ENTER,
        scope.tenant_id,
        [entry.id_in(scope.tenant_id) for entry in entries],
        [entry.order_id for entry in entries],
        [entry.kind.value for entry in entries],
        [entry.vat_rate.value for entry in entries],
        [entry.amount_pence for entry in entries],
        [entry.vat_pence for entry in entries],
        [entry.month for entry in entries],
        [entry.reference for entry in entries],
        scope.now,
    )


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


async def list_transactions(
    scope: Scope, order_id: UUID | None, before: tuple[datetime, UUID] | None, limit: int
) -> Sequence[FinancialTransaction]:
    """At most `limit` entries of the ledger, newest first, those before the given (entered_at, id); of one order if it is given."""
    query = select(FinancialTransaction).where(col(FinancialTransaction.tenant_id) == scope.tenant_id)
    if order_id is not None:
        query = query.where(col(FinancialTransaction.order_id) == order_id)
    if before is not None:
        query = query.where(tuple_(col(FinancialTransaction.entered_at), col(FinancialTransaction.id)) < before)
    newest = query.order_by(col(FinancialTransaction.entered_at).desc(), col(FinancialTransaction.id).desc())
    return (await scope.session.exec(newest.limit(limit))).all()
