"""Orders that are cancelled, paid by card, or accepted by somebody in the shop; the sagas that wait for that."""

from alembic import op

from infra.schema import answer_later

revision = "0002"
down_revision = "0001"

# New columns have defaults: the release before this one still inserts orders and shops while it is replaced.
CUSTOMER_ORDER = """
    ALTER TABLE orders.customer_order
        DROP CONSTRAINT customer_order_status_check,
        DROP CONSTRAINT customer_order_rejection_check,
        ADD COLUMN paid_by_card boolean NOT NULL DEFAULT false,
        ADD COLUMN acceptance text NOT NULL DEFAULT 'NEW',
        ADD COLUMN cancelled_from text,
        ADD COLUMN cancel_reason text,
        ADD CONSTRAINT customer_order_status_check CHECK (status IN
            ('DRAFT', 'PENDING', 'CONFIRMED', 'PREPARING', 'READY', 'COMPLETED', 'CANCELLING', 'CANCELLED', 'REJECTED')),
        ADD CONSTRAINT customer_order_rejection_check CHECK (rejection IN
            ('OUT_OF_STOCK', 'OVER_QUOTA', 'TENANT_SUSPENDED', 'PAYMENT_REFUSED', 'NOT_ACCEPTED', 'NO_ANSWER', 'FAULT', 'CANCELLED')),
        ADD CONSTRAINT customer_order_acceptance_check CHECK (acceptance IN ('NEW', 'WAITING', 'ACCEPTED', 'DECLINED', 'WITHDRAWN')),
        ADD CONSTRAINT customer_order_cancelled_from_check CHECK (cancelled_from IN ('PENDING', 'CONFIRMED')),
        ADD CONSTRAINT customer_order_cancel_reason_check CHECK (length(cancel_reason) BETWEEN 1 AND 200),
        ADD CONSTRAINT a_cancelled_order_says_why CHECK ((cancelled_from IS NULL) = (cancel_reason IS NULL)),
        -- An order CANCELLED by the release before this one has no reason.
        ADD CONSTRAINT only_a_cancelled_order_says_so CHECK (cancelled_from IS NULL OR status IN ('CANCELLING', 'CANCELLED')),
        ADD CONSTRAINT a_cancelling_order_knows_who_undoes_it CHECK (status <> 'CANCELLING' OR cancelled_from IS NOT NULL)"""

# Few of many, as the PENDING ones.
CANCELLING_ORDERS = """
    CREATE INDEX customer_order_cancelling ON orders.customer_order (tenant_id, created_at, order_id) WHERE status = 'CANCELLING'"""

STATEMENTS = [
    "SET LOCAL ROLE orders_owner",
    CUSTOMER_ORDER,
    CANCELLING_ORDERS,
    "GRANT UPDATE (acceptance, cancelled_from, cancel_reason) ON orders.customer_order TO orders_app",
    "ALTER TABLE orders.shop ADD COLUMN accepts_by_hand boolean NOT NULL DEFAULT false",
    *answer_later("orders"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
