"""The ledger, whose entries nobody changes, and what the months and holds know of it.

Every new column has a default that is right for orders which are never charged, so workers of before go on beside this.
"""

from alembic import op

from infra.schema import protect

revision = "0002"
down_revision = "0001"

MONTHS = """
    ALTER TABLE tenants.quota
        ADD COLUMN pence_charged bigint NOT NULL DEFAULT 0 CHECK (pence_charged >= 0),
        ADD COLUMN pence_refunded bigint NOT NULL DEFAULT 0 CHECK (pence_refunded >= 0),
        -- Of what is held and settled: what the ledger counts, so that no order's amount counts twice.
        ADD COLUMN pence_covered bigint NOT NULL DEFAULT 0 CHECK (pence_covered >= 0),
        ADD CONSTRAINT refunds_are_of_charges CHECK (pence_refunded <= pence_charged),
        ADD CONSTRAINT covered_is_held_or_settled CHECK (pence_covered <= pence_held + pence_settled)"""

# The charge of an order and its tombstone. On the hold's row, because both count the same amount and one must see the other.
HOLDS = """
    ALTER TABLE tenants.quota_hold
        ADD COLUMN charge text NOT NULL DEFAULT 'NEW' CHECK (charge IN ('NEW', 'CHARGED', 'REFUNDED'))"""

# Amounts include their VAT. A refund is below zero, so that a sum over any entries is what they come to.
LEDGER = """
    CREATE TABLE tenants.financial_transactions (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        order_id uuid NOT NULL,
        kind text NOT NULL,
        vat_rate text NOT NULL CHECK (vat_rate IN ('ZERO', 'REDUCED', 'STANDARD', 'EXEMPT')),
        amount_pence bigint NOT NULL CHECK (abs(amount_pence) <= 9007199254740991),
        vat_pence bigint NOT NULL,
        month text NOT NULL,
        reference text NOT NULL CHECK (length(reference) BETWEEN 1 AND 200),
        entered_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT each_kind_and_rate_once UNIQUE (tenant_id, order_id, kind, vat_rate),
        FOREIGN KEY (tenant_id, month) REFERENCES tenants.quota,
        CONSTRAINT kind_and_sign_agree CHECK (
            (kind = 'CHARGE' AND amount_pence >= 0 AND vat_pence BETWEEN 0 AND amount_pence)
            OR (kind = 'REFUND' AND amount_pence <= 0 AND vat_pence BETWEEN amount_pence AND 0)),
        CONSTRAINT vat_only_where_there_is_a_rate CHECK (vat_rate NOT IN ('ZERO', 'EXEMPT') OR vat_pence = 0))"""

NEWEST_FIRST = "CREATE INDEX newest_first ON tenants.financial_transactions (tenant_id, entered_at, id)"

# No grant lets anybody change an entry. This refuses those as well who need no grant: the owner, an administrator's slip.
REFUSE = """
    CREATE FUNCTION tenants.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
        RAISE EXCEPTION 'the ledger is for good: % of %.% is refused, enter a refund instead', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = '42501';
    END $$"""

IMMUTABLE = """
    CREATE TRIGGER for_good BEFORE UPDATE OR DELETE OR TRUNCATE ON tenants.financial_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION tenants.refuse_change()"""


def upgrade() -> None:
    op.execute("SET LOCAL ROLE tenants_owner")
    for statement in (MONTHS, HOLDS, LEDGER, NEWEST_FIRST, REFUSE, IMMUTABLE):
        op.execute(statement)
    op.execute("GRANT UPDATE (pence_charged, pence_refunded, pence_covered) ON tenants.quota TO tenants_app")
    op.execute("GRANT UPDATE (charge) ON tenants.quota_hold TO tenants_app")
    for statement in protect("tenants", "financial_transactions", "SELECT, INSERT"):
        op.execute(statement)
