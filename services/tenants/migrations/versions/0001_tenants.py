"""Tenants with their limits, the months' quota, and the holds that orders have on it."""

from alembic import op

from infra.schema import create_service, protect

revision = "0001"
down_revision = None

TENANT = """
    CREATE TABLE tenants.tenant (
        tenant_id uuid NOT NULL PRIMARY KEY,
        name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
        status text NOT NULL CHECK (status IN ('ACTIVE', 'SUSPENDED')),
        orders_per_month bigint NOT NULL CHECK (orders_per_month >= 0),
        spending_limit_pence bigint NOT NULL CHECK (spending_limit_pence BETWEEN 0 AND 9007199254740991),
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL)"""

QUOTA = """
    CREATE TABLE tenants.quota (
        tenant_id uuid NOT NULL REFERENCES tenants.tenant,
        -- A calendar month in UTC, as in 2026-11.
        month text NOT NULL CHECK (month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
        orders_held bigint NOT NULL CHECK (orders_held >= 0),
        orders_settled bigint NOT NULL CHECK (orders_settled >= 0),
        pence_held bigint NOT NULL CHECK (pence_held >= 0),
        pence_settled bigint NOT NULL CHECK (pence_settled >= 0),
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, month),
        CONSTRAINT amounts_belong_to_orders CHECK ((orders_held > 0 OR pence_held = 0) AND (orders_settled > 0 OR pence_settled = 0)))"""

# Ask and undo of an order write the same row, so that whichever comes second waits for the first and sees what it did.
# A command may name a tenant that nobody added: it is refused, and leaves a row of state NEW behind.
QUOTA_HOLD = """
    CREATE TABLE tenants.quota_hold (
        tenant_id uuid NOT NULL,
        order_id uuid NOT NULL,
        step text NOT NULL CHECK (length(step) BETWEEN 1 AND 64),
        state text NOT NULL CHECK (state IN ('NEW', 'HELD', 'WITHDRAWN', 'SETTLED')),
        month text,
        pence bigint CHECK (pence >= 0),
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, order_id, step),
        FOREIGN KEY (tenant_id, month) REFERENCES tenants.quota,
        CHECK ((month IS NULL) = (pence IS NULL)),
        CHECK (state NOT IN ('HELD', 'SETTLED') OR month IS NOT NULL),
        CHECK (state <> 'NEW' OR month IS NULL))"""

GRANTS = {
    "tenant": "SELECT, INSERT, UPDATE (status, changed_at)",
    "quota": "SELECT, INSERT, UPDATE (orders_held, orders_settled, pence_held, pence_settled, changed_at)",
    "quota_hold": "SELECT, INSERT, UPDATE (state, month, pence, changed_at)",
}


def upgrade() -> None:
    for statement in create_service("tenants"):
        op.execute(statement)
    for statement in (TENANT, QUOTA, QUOTA_HOLD):
        op.execute(statement)
    for table, grants in GRANTS.items():
        for statement in protect("tenants", table, grants):
            op.execute(statement)
