"""Reconciling finds out which tenants there are, and nothing else about them."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = [
    "SET LOCAL ROLE orders_owner",
    "CREATE POLICY sweeper ON orders.customer_order FOR SELECT TO orders_sweeper USING (true)",
    "GRANT SELECT (tenant_id) ON orders.customer_order TO orders_sweeper",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
