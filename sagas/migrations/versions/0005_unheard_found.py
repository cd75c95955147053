"""Whoever runs the timers finds the sagas that have unheard replies, of all tenants."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE sagas_owner",
    "CREATE POLICY sweeper ON sagas.unheard FOR SELECT TO sagas_sweeper USING (true)",
    "GRANT SELECT (tenant_id, saga_id, kept_at) ON sagas.unheard TO sagas_sweeper",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
