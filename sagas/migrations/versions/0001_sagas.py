"""The schema, its roles, inbox and outbox; sagas and their history."""

from alembic import op

from infra.schema import create_service, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = [
    *create_service("sagas"),
    """CREATE TABLE sagas.saga (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        name text NOT NULL,
        version integer NOT NULL,
        subject text NOT NULL,
        state text NOT NULL CHECK (state IN
            ('RUNNING', 'COMPENSATING', 'ABANDONING', 'PARKED', 'NEEDS_ATTENTION', 'COMPLETED', 'ABANDONED')),
        revision bigint NOT NULL CHECK (revision >= 1),
        started_by text NOT NULL,
        instance text NOT NULL,
        started_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        wake_at timestamptz,
        events integer NOT NULL CHECK (events >= 1),
        PRIMARY KEY (tenant_id, id))""",
    "CREATE INDEX saga_subject ON sagas.saga (tenant_id, subject)",
    # Timers are looked for across tenants, by the sweeper's role alone; final sagas have none.
    "CREATE INDEX saga_wake ON sagas.saga (wake_at) WHERE wake_at IS NOT NULL",
    *protect("sagas", "saga", "SELECT, INSERT, UPDATE (state, revision, instance, changed_at, wake_at, events)"),
    "CREATE POLICY sweeper ON sagas.saga FOR SELECT TO sagas_sweeper USING (true)",
    "GRANT SELECT (tenant_id, id, wake_at) ON sagas.saga TO sagas_sweeper",
    # No foreign key to saga: both are written by one statement group, and a check per row would cost more than the row.
    """CREATE TABLE sagas.saga_event (
        tenant_id uuid NOT NULL,
        saga_id uuid NOT NULL,
        number integer NOT NULL CHECK (number >= 1),
        kind text NOT NULL,
        step text,
        phase text,
        attempt integer,
        detail text NOT NULL,
        reply text,
        trace_id text,
        at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, saga_id, number))""",
    # Append-only: the service itself can neither change nor delete what happened.
    *protect("sagas", "saga_event", "SELECT, INSERT"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
