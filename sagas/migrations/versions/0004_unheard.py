"""Replies that met a process of another release, which does not have their saga's definition; and what timers and metrics look at."""

from alembic import op

from infra.schema import protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE sagas_owner",
    """CREATE TABLE sagas.unheard (
        tenant_id uuid NOT NULL,
        saga_id uuid NOT NULL,
        message_id uuid NOT NULL,
        envelope text NOT NULL,
        kept_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, saga_id, message_id))""",
    *protect("sagas", "unheard", "SELECT, INSERT, DELETE"),
    # Timers find only sagas whose definition their process has; the metrics count by these. Some are granted already.
    "GRANT SELECT (name, version, state, progressed_at, stuck_at) ON sagas.saga TO sagas_sweeper",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
