"""The running totals of the months against the holds and the ledger that they sum up, and each order's charge against its entries.

Each is read in one statement, so what is compared is of one moment.
"""

from typing import Any, Final

from infra.reconcile import Imbalance, NothingToMend
from infra.rows import require_updated
from infra.transaction import Scope
from services.tenants.usage import Month

TOTALS: Final = ("orders_held", "orders_settled", "pence_held", "pence_settled", "pence_charged", "pence_refunded", "pence_covered")

# In the order of TOTALS. A hold counts once, the ledger's entries in the month that they name.
_COUNTED: Final = """
    SELECT month, sum(orders_held)::bigint AS orders_held, sum(orders_settled)::bigint AS orders_settled,
        sum(pence_held)::bigint AS pence_held, sum(pence_settled)::bigint AS pence_settled,
        sum(pence_charged)::bigint AS pence_charged, sum(pence_refunded)::bigint AS pence_refunded,
        sum(pence_covered)::bigint AS pence_covered
    FROM (
        SELECT month, (state = 'HELD')::int AS orders_held, (state = 'SETTLED')::int AS orders_settled,
            CASE WHEN state = 'HELD' THEN pence ELSE 0 END AS pence_held,
            CASE WHEN state = 'SETTLED' THEN pence ELSE 0 END AS pence_settled, 0::bigint AS pence_charged,
            0::bigint AS pence_refunded, CASE WHEN charge <> 'NEW' THEN pence ELSE 0 END AS pence_covered
        FROM tenants.quota_hold WHERE tenant_id = $1 AND state IN ('HELD', 'SETTLED')
        UNION ALL
        SELECT month, 0, 0, 0, 0, CASE WHEN kind = 'CHARGE' THEN amount_pence ELSE 0 END,
            CASE WHEN kind = 'REFUND' THEN -amount_pence ELSE 0 END, 0
        FROM tenants.financial_transactions WHERE tenant_id = $1
    ) AS each_one WHERE $2::text IS NULL OR month = $2 GROUP BY month"""

_STORED: Final = """
    SELECT month, orders_held, orders_settled, pence_held, pence_settled, pence_charged, pence_refunded, pence_covered, changed_at
    FROM tenants.quota WHERE tenant_id = $1"""

_MONTHS: Final = f"""
    WITH counted AS ({_COUNTED}), stored AS ({_STORED})
    SELECT stored.month, stored.changed_at, {", ".join(f"stored.{one} AS stored_{one}" for one in TOTALS)},
        {", ".join(f"coalesce(counted.{one}, 0) AS counted_{one}" for one in TOTALS)}
    FROM stored LEFT JOIN counted USING (month)
    WHERE ({", ".join(f"stored.{one}" for one in TOTALS)}) IS DISTINCT FROM ({", ".join(f"coalesce(counted.{one}, 0)" for one in TOTALS)})
    ORDER BY stored.month"""  # noqa: S608 - all of it is in this file

# Every hold's and entry's month has its row: foreign keys see to that, so nothing is missed by starting from the rows.
_CHARGES: Final = """
    WITH rates AS (
        SELECT order_id, vat_rate, sum(amount_pence) AS net, count(*) FILTER (WHERE kind = 'CHARGE') AS charges,
            count(*) FILTER (WHERE kind = 'REFUND') AS refunds, max(entered_at) AS entered_at
        FROM tenants.financial_transactions WHERE tenant_id = $1 GROUP BY order_id, vat_rate
    ), entered AS (
        SELECT order_id, sum(charges)::bigint AS charges, sum(refunds)::bigint AS refunds, bool_and(net = 0) AS is_nothing,
            max(entered_at) AS entered_at
        FROM rates GROUP BY order_id
    ), hold AS (SELECT order_id, charge, changed_at FROM tenants.quota_hold WHERE tenant_id = $1)
    SELECT order_id, coalesce(charge, 'no hold') AS charge, coalesce(charges, 0) AS charges, coalesce(refunds, 0) AS refunds,
        coalesce(changed_at, entered_at) AS changed_at
    FROM hold FULL JOIN entered USING (order_id)
    WHERE NOT CASE charge
        WHEN 'NEW' THEN charges IS NULL
        WHEN 'CHARGED' THEN coalesce(charges > 0 AND refunds = 0, false)
        WHEN 'REFUNDED' THEN coalesce(charges = refunds AND is_nothing, true)
        ELSE false END
    ORDER BY order_id"""

_LOCK_MONTH: Final = "SELECT month FROM tenants.quota WHERE tenant_id = $1 AND month = $2 FOR UPDATE"
_RECOUNT: Final = """
    UPDATE tenants.quota SET orders_held = $3, orders_settled = $4, pence_held = $5, pence_settled = $6, pence_charged = $7,
        pence_refunded = $8, pence_covered = $9, changed_at = $10
    WHERE tenant_id = $1 AND month = $2"""


async def months(scope: Scope) -> list[Imbalance]:
    """Each month that does not add up."""
    return [
        Imbalance(
            book="quota",
            key=row["month"],
            stored=_differing(row, "stored"),
            counted=_differing(row, "counted"),
            changed_at=row["changed_at"],
        )
        for row in await scope.connection.fetch(_MONTHS, scope.tenant_id, None)
    ]


async def charges(scope: Scope) -> list[Imbalance]:
    """Each order whose entries are not what its charge says: none, charges, or charges and the mirror of each."""
    return [
        Imbalance(
            book="ledger",
            key=str(row["order_id"]),
            stored=row["charge"],
            counted=f"{row['charges']} charges and {row['refunds']} refunds",
            changed_at=row["changed_at"],
            lacks_refunds=row["charges"] > row["refunds"] and (row["refunds"] > 0 or row["charge"] == "REFUNDED"),
        )
        for row in await scope.connection.fetch(_CHARGES, scope.tenant_id)
    ]


async def recount(scope: Scope, month: Month) -> str:
    """Set the month's totals to what holds and ledger say; raises NothingToMend if it has no row."""
    # Whoever changes a hold or enters something holds this lock while they do, so what is counted after it is what is so.
    if await scope.connection.fetchrow(_LOCK_MONTH, scope.tenant_id, month) is None:
        raise NothingToMend(f"tenants has no month {month}")
    counted = await scope.connection.fetchrow(_COUNTED, scope.tenant_id, month)
    values = [counted[one] if counted else 0 for one in TOTALS]
    require_updated(await scope.connection.execute(_RECOUNT, scope.tenant_id, month, *values, scope.now), 1)
    return f"the totals of {month} are counted again"


def _differing(row: Any, which: str) -> str:
    told = {one: row[f"{which}_{one}"] for one in TOTALS if row[f"stored_{one}"] != row[f"counted_{one}"]}
    return ", ".join(f"{one.replace('_', ' ')} {value}" for one, value in told.items())
