"""Reconciling finds out which tenants there are, and nothing else about them."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = [
    "SET LOCAL ROLE inventory_owner",
    "CREATE POLICY sweeper ON inventory.stock_hold FOR SELECT TO inventory_sweeper USING (true)",
    "GRANT SELECT (tenant_id) ON inventory.stock_hold TO inventory_sweeper",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
