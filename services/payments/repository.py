"""All SQL of payments: the payments that a group of commands is about, and one payment for its call, its callback and the API.

Lock order inside a tenant: payments sorted by order, each once per group. Ask and undo of an order both put its row there first (nothing
wanted) and then lock it, so whichever commits first is seen by the other. Nothing is locked while the provider is called.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlmodel import col, select

from contracts.messages import Envelope
from contracts.payments import AuthorisePayment, CapturePayment, ReturnPayment
from contracts.values import OrderId
from infra.rows import require_updated
from infra.transaction import Scope
from services.payments.answering import answer_whoever_waits
from services.payments.model import Actual, Payment, PaymentRow, Payments, Wanted, payment_id_of
from services.payments.provider import Operation

_ADD: Final = """
    INSERT INTO payments.payment
        (tenant_id, order_id, payment_id, wanted, actual, attempts, refusals, revision, created_at, changed_at)
    SELECT $1::uuid, asked.order_id, asked.payment_id, 'NOTHING', 'NONE', 0, 0, 0, $4::timestamptz, $4::timestamptz
    FROM unnest($2::uuid[], $3::uuid[]) AS asked (order_id, payment_id)
    ORDER BY asked.order_id
    ON CONFLICT (tenant_id, order_id) DO NOTHING"""

_LOCK: Final = """
    SELECT order_id, payment_id, wanted, actual, amount_pence, token, refusal, reference, calling, attempts, refusals, due_at, revision
    FROM payments.payment WHERE tenant_id = $1 AND order_id = ANY($2::uuid[])
    ORDER BY order_id FOR UPDATE"""

_LOCK_DUE: Final = """
    SELECT order_id, payment_id, wanted, actual, amount_pence, token, refusal, reference, calling, attempts, refusals, due_at, revision
    FROM payments.payment WHERE tenant_id = $1 AND order_id = $2 AND due_at <= $3
    FOR UPDATE SKIP LOCKED"""

_SAVE: Final = """
    UPDATE payments.payment AS payment
    SET wanted = given.wanted, actual = given.actual, amount_pence = given.amount_pence, token = given.token, refusal = given.refusal,
        reference = given.reference, calling = given.calling, attempts = given.attempts, refusals = given.refusals,
        due_at = given.due_at, revision = given.revision, changed_at = $14
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::int[],
            $11::int[], $12::timestamptz[], $13::bigint[])
        AS given (order_id, wanted, actual, amount_pence, token, refusal, reference, calling, attempts, refusals, due_at, revision)
    WHERE payment.tenant_id = $1 AND payment.order_id = given.order_id"""


class PaymentRepository:
    """Loads the payments that a group of commands is about, locked, and saves those that changed."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> Payments:
        messages = [envelope.data for envelope in received]
        orders = sorted(
            {message.order_id for message in messages if isinstance(message, AuthorisePayment | CapturePayment | ReturnPayment)}
        )
        await scope.connection.execute(_ADD, scope.tenant_id, orders, [payment_id_of(scope.tenant_id, one) for one in orders], scope.now)
        rows = await scope.connection.fetch(_LOCK, scope.tenant_id, orders)
        return Payments({row["order_id"]: _payment(row) for row in rows})

    async def save(self, scope: Scope, state: Payments) -> None:
        """What is wanted now is due at once; raises LockedRowMissing."""
        changed = [payment for payment in state.of.values() if payment.changed]
        for payment in changed:
            payment.be_seen_to(scope.now)
        await save(scope, changed)
        # Given back before anybody called the provider: no outcome will come to answer those who wait.
        await answer_whoever_waits(scope, [payment for payment in changed if payment.is_given_back])


async def lock(scope: Scope, order_id: OrderId) -> Payment | None:
    """The order's payment, locked; None if there is none."""
    rows = await scope.connection.fetch(_LOCK, scope.tenant_id, [order_id])
    return _payment(rows[0]) if rows else None


async def claim(scope: Scope, order_id: OrderId) -> Payment | None:
    """The order's payment, locked, if it is due and nobody else is at it."""
    row = await scope.connection.fetchrow(_LOCK_DUE, scope.tenant_id, order_id, scope.now)
    return _payment(row) if row is not None else None


async def save(scope: Scope, payments: Sequence[Payment]) -> None:
    """Write these payments, whose rows are locked; raises LockedRowMissing."""
    if not payments:
        return
    done = await scope.connection.execute(
        _SAVE,
        scope.tenant_id,
        [one.order_id for one in payments],
        [one.wanted.value for one in payments],
        [one.actual.value for one in payments],
        [one.amount for one in payments],
        [one.token for one in payments],
        [one.refusal for one in payments],
        [one.reference for one in payments],
        [one.calling.value if one.calling else None for one in payments],
        [one.attempts for one in payments],
        [one.refusals for one in payments],
        [one.due_at for one in payments],
        [one.revision for one in payments],
        scope.now,
    )
    require_updated(done, len(payments))


async def find(scope: Scope, order_id: OrderId) -> PaymentRow | None:
    """The order's payment as it is stored, not locked."""
    query = select(PaymentRow).where(col(PaymentRow.tenant_id) == scope.tenant_id, col(PaymentRow.order_id) == order_id)
    return (await scope.session.exec(query)).one_or_none()


def _payment(row: Any) -> Payment:
    return Payment(
        order_id=row["order_id"],
        payment_id=row["payment_id"],
        wanted=Wanted(row["wanted"]),
        actual=Actual(row["actual"]),
        amount=row["amount_pence"],
        token=row["token"],
        refusal=row["refusal"],
        reference=row["reference"],
        calling=Operation(row["calling"]) if row["calling"] else None,
        attempts=row["attempts"],
        refusals=row["refusals"],
        due_at=row["due_at"],
        revision=row["revision"],
    )
