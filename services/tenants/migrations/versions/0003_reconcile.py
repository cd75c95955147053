"""Reconciling finds out which tenants there are, and nothing else about them."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = [
    "SET LOCAL ROLE tenants_owner",
    "CREATE POLICY sweeper ON tenants.tenant FOR SELECT TO tenants_sweeper USING (true)",
    "GRANT SELECT (tenant_id) ON tenants.tenant TO tenants_sweeper",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
