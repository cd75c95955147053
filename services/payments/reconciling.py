"""What payments tells about clients' cards when the services' books are compared, and what can be mended in them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from contracts.payments import CapturePayment, ReturnPayment
from contracts.values import OrderId
from infra.reconcile import Books, Case, Line, Subject, by_use_case
from infra.transaction import Scope
from services.payments.consumers import HANDLES

_MOVING: Final = (
    "(calling IS NOT NULL OR actual IN ('PENDING', 'AUTHORISED') OR (actual = 'NONE' AND wanted IN ('AUTHORISED', 'CAPTURED'))"
    " OR (actual = 'CAPTURED' AND wanted = 'RETURNED'))"
)
_SUBJECTS: Final = f"""
    SELECT order_id, NOT ({_MOVING}) AS is_at_rest, changed_at FROM payments.payment
    WHERE tenant_id = $1 AND (changed_at >= $2 OR {_MOVING})
    ORDER BY {_MOVING} DESC, changed_at DESC LIMIT $3"""  # noqa: S608 - all of it is in this file
# What the provider has not said yet may be held or taken.
_LINES: Final = """
    SELECT order_id, wanted, actual, changed_at,
        CASE WHEN calling IS NOT NULL OR actual IN ('PENDING', 'AUTHORISED', 'CAPTURED') THEN coalesce(amount_pence, 0) ELSE 0 END AS pence
    FROM payments.payment WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])"""


async def subjects(scope: Scope, since: datetime, most: int) -> list[Subject]:
    return [Subject(*row) for row in await scope.connection.fetch(_SUBJECTS, scope.tenant_id, since, most)]


async def lines(scope: Scope, orders: Sequence[UUID]) -> list[Line]:
    """`was` is what the sagas want; `pence` is what may be held or taken."""
    rows = await scope.connection.fetch(_LINES, scope.tenant_id, list(orders))
    return [
        Line(
            subject=row["order_id"],
            book="payment",
            state=row["actual"],
            was=row["wanted"],
            pence=row["pence"],
            changed_at=row["changed_at"],
        )
        for row in rows
    ]


async def give_back(scope: Scope, case: Case) -> str:
    """Have nothing held and nothing taken; the provider is called for it as for every payment that is due."""
    await by_use_case(scope, HANDLES, ReturnPayment(order_id=OrderId(case.order_id)))
    return f"the payment of order {case.key} is wanted back"


async def capture(scope: Scope, case: Case) -> str:
    """Have the held amount taken."""
    await by_use_case(scope, HANDLES, CapturePayment(order_id=OrderId(case.order_id)))
    return f"the payment of order {case.key} is wanted captured"


BOOKS: Final = Books(
    kept_in="payments.payment",
    subjects=subjects,
    lines=lines,
    mends={"give-back": give_back, "capture": capture},
)
