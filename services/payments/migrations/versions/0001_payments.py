"""Payments, one row per order, and the commands that wait for the provider."""

from alembic import op

from infra.schema import answer_later, create_service, protect

revision = "0001"
down_revision = None

# Ask and undo of an order write the same row, so that whichever comes second waits for the first and sees what it did.
PAYMENT = """
    CREATE TABLE payments.payment (
        tenant_id uuid NOT NULL,
        order_id uuid NOT NULL,
        payment_id uuid NOT NULL,
        wanted text NOT NULL CHECK (wanted IN ('NOTHING', 'AUTHORISED', 'CAPTURED', 'RETURNED')),
        actual text NOT NULL CHECK (actual IN ('NONE', 'PENDING', 'AUTHORISED', 'REFUSED', 'CAPTURED', 'VOIDED', 'REFUNDED')),
        amount_pence bigint CHECK (amount_pence BETWEEN 0 AND 9007199254740991),
        token text CHECK (length(token) BETWEEN 1 AND 200),
        refusal text CHECK (length(refusal) BETWEEN 1 AND 64),
        reference text CHECK (length(reference) BETWEEN 1 AND 200),
        -- The operation whose intent is committed and whose outcome is not known.
        calling text CHECK (calling IN ('AUTHORISE', 'CAPTURE', 'VOID', 'REFUND')),
        attempts integer NOT NULL CHECK (attempts >= 0),
        refusals integer NOT NULL CHECK (refusals >= 0),
        due_at timestamptz,
        revision bigint NOT NULL CHECK (revision >= 0),
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, order_id),
        CONSTRAINT a_call_in_doubt_is_looked_at_again CHECK (calling IS NULL OR due_at IS NOT NULL),
        CONSTRAINT an_amount_is_wanted CHECK (wanted IN ('NOTHING', 'RETURNED') OR amount_pence IS NOT NULL),
        CONSTRAINT nothing_is_called_without_an_amount CHECK ((calling IS NULL AND actual = 'NONE') OR amount_pence IS NOT NULL),
        CONSTRAINT the_provider_knows_it CHECK (actual IN ('NONE', 'REFUSED') OR reference IS NOT NULL),
        CONSTRAINT a_refusal_has_its_code CHECK (actual <> 'REFUSED' OR refusal IS NOT NULL))"""

STATEMENTS = [
    *create_service("payments"),
    PAYMENT,
    # What is due is looked for across tenants, by the sweeper's role alone; where nothing is to be done it is NULL.
    "CREATE INDEX payment_due ON payments.payment (due_at) WHERE due_at IS NOT NULL",
    *protect(
        "payments",
        "payment",
        "SELECT, INSERT,"
        " UPDATE (wanted, actual, amount_pence, token, refusal, reference, calling, attempts, refusals, due_at, revision, changed_at)",
    ),
    "CREATE POLICY sweeper ON payments.payment FOR SELECT TO payments_sweeper USING (true)",
    "GRANT SELECT (tenant_id, order_id, due_at) ON payments.payment TO payments_sweeper",
    *answer_later("payments"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
