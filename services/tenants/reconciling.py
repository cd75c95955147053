"""What tenants tells about quota and ledger when the services' books are compared, and what can be mended in them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.orders import OrderCompleted
from contracts.tenants import RefundOrder, ReleaseQuota
from contracts.values import OrderId, VatRate
from infra.reconcile import Books, Case, Imbalance, Line, NothingToMend, Subject, by_use_case
from infra.rows import require_updated
from infra.transaction import Scope
from infra.wire_values import Row
from services.tenants import totals
from services.tenants.consumers import HANDLES
from services.tenants.ledger import ChargeState, Entry, Kind
from services.tenants.repository import STEP, enter
from services.tenants.usage import Month

_SUBJECTS: Final = """
    SELECT order_id, state <> 'HELD' AS is_at_rest, changed_at FROM tenants.quota_hold
    WHERE tenant_id = $1 AND step = $2 AND (state = 'HELD' OR changed_at >= $3)
    ORDER BY state = 'HELD' DESC, changed_at DESC LIMIT $4"""

_LINES: Final = """
    SELECT hold.order_id, hold.state, hold.charge, coalesce(hold.pence, 0) AS pence, hold.changed_at, ledger.net::bigint AS net
    FROM tenants.quota_hold AS hold CROSS JOIN LATERAL (
        SELECT coalesce(sum(entry.amount_pence), 0) AS net FROM tenants.financial_transactions AS entry
        WHERE entry.tenant_id = $1 AND entry.order_id = hold.order_id
    ) AS ledger
    WHERE hold.tenant_id = $1 AND hold.step = $2 AND hold.order_id = ANY($3::uuid[])"""

_LOCK_HOLD: Final = """
    SELECT charge, month FROM tenants.quota_hold WHERE tenant_id = $1 AND order_id = $2 AND step = $3 FOR UPDATE"""
_ENTRIES: Final = """
    SELECT kind, vat_rate, amount_pence, vat_pence, month FROM tenants.financial_transactions
    WHERE tenant_id = $1 AND order_id = $2 ORDER BY kind, vat_rate"""
_SET_CHARGE: Final = """
    UPDATE tenants.quota_hold SET charge = $4, changed_at = $5 WHERE tenant_id = $1 AND order_id = $2 AND step = $3"""


async def subjects(scope: Scope, since: datetime, most: int) -> list[Subject]:
    return [Subject(*row) for row in await scope.connection.fetch(_SUBJECTS, scope.tenant_id, STEP, since, most)]


async def lines(scope: Scope, orders: Sequence[UUID]) -> list[Line]:
    """Two of each order: its place in the quota, and what it costs by the ledger."""
    found = []
    for row in await scope.connection.fetch(_LINES, scope.tenant_id, STEP, list(orders)):
        order, changed_at = row["order_id"], row["changed_at"]
        has_place = row["state"] in ("HELD", "SETTLED")
        found.append(Line(subject=order, book="quota", state=row["state"], pence=row["pence"] if has_place else 0, changed_at=changed_at))
        found.append(Line(subject=order, book="ledger", state=row["charge"], pence=row["net"], changed_at=changed_at))
    return found


async def imbalances(scope: Scope) -> list[Imbalance]:
    """Months whose running totals are not what holds and ledger say, and orders whose entries are not what their charge says."""
    return [*await totals.months(scope), *await totals.charges(scope)]


async def release(scope: Scope, case: Case) -> str:
    """Give the order's place back; its tombstone stays, so that none is taken for it later."""
    await by_use_case(scope, HANDLES, ReleaseQuota(order_id=OrderId(case.order_id)))
    return f"the quota of order {case.key} is released"


async def settle(scope: Scope, case: Case) -> str:
    """The order's place is used for good."""
    await by_use_case(scope, HANDLES, OrderCompleted(order_id=OrderId(case.order_id)))
    return f"the quota of order {case.key} is settled"


async def refund(scope: Scope, case: Case) -> str:
    """Enter the mirror of what the order was charged."""
    await by_use_case(scope, HANDLES, RefundOrder(order_id=OrderId(case.order_id)))
    return f"order {case.key} is refunded in the ledger"


async def recount(scope: Scope, case: Case) -> str:
    """Write down as the month's running totals what its holds and the ledger say."""
    return await totals.recount(scope, Month(case.key))


async def balance(scope: Scope, case: Case) -> str:
    """Have the order's charge say what its entries say; a refund that was begun is completed. Entries are only added."""
    hold = await scope.connection.fetchrow(_LOCK_HOLD, scope.tenant_id, case.order_id, STEP)
    if hold is None:
        raise NothingToMend(f"order {case.key} has entries and no hold beside them: an administrator has to restore its hold")
    entries = [_entry(case.order_id, row) for row in await scope.connection.fetch(_ENTRIES, scope.tenant_id, case.order_id)]
    charge, missing = _said_by(entries, ChargeState(hold["charge"]))
    enter(scope, missing)
    await scope.written()
    done = await scope.connection.execute(_SET_CHARGE, scope.tenant_id, case.order_id, STEP, charge.value, scope.now)
    require_updated(done, 1)
    for month in sorted({*(entry.month for entry in entries), *([Month(hold["month"])] if hold["month"] else [])}):
        await totals.recount(scope, month)
    return f"the charge of order {case.key} was {hold['charge']} and is {charge}, with {len(missing)} entries added"


def _said_by(entries: Sequence[Entry], now: ChargeState) -> tuple[ChargeState, list[Entry]]:
    """What the charge is by its entries, and the entries that are missing for that."""
    charges = [entry for entry in entries if entry.kind is Kind.CHARGE]
    refunded = {entry.vat_rate for entry in entries if entry.kind is Kind.REFUND}
    if not charges:
        # Without entries a refund is the note that nothing may be charged; a charge without entries never was one.
        return ChargeState.REFUNDED if now is ChargeState.REFUNDED else ChargeState.NEW, []
    if now is not ChargeState.REFUNDED and not refunded:
        return ChargeState.CHARGED, []
    return ChargeState.REFUNDED, [charge.refund() for charge in charges if charge.vat_rate not in refunded]


def _entry(order_id: UUID, row: Row) -> Entry:
    values = dict(row)
    return Entry(
        OrderId(order_id),
        Kind(str(values["kind"])),
        VatRate(str(values["vat_rate"])),
        int(str(values["amount_pence"])),
        int(str(values["vat_pence"])),
        Month(str(values["month"])),
    )


BOOKS: Final = Books(
    kept_in="tenants.tenant",
    subjects=subjects,
    lines=lines,
    imbalances=imbalances,
    mends={"release": release, "settle": settle, "refund": refund, "recount": recount, "balance": balance},
)
