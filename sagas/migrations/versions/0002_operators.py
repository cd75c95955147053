"""What operators look for and do: more states, what a saga waits for, its progress, and who did what in its history."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATES = "'RUNNING', 'COMPENSATING', 'ABANDONING', 'COMPLETING', 'PARKED', 'NEEDS_ATTENTION', 'PAUSED', 'COMPLETED', 'ABANDONED'"

STATEMENTS = [
    "SET LOCAL ROLE sagas_owner",
    "ALTER TABLE sagas.saga DROP CONSTRAINT saga_state_check",
    f"ALTER TABLE sagas.saga ADD CONSTRAINT saga_state_check CHECK (state IN ({STATES}))",
    # Its processes and those of the release before work beside each other for a while, so whatever those do not write has a default.
    # `step`: what it waits for; `fingerprint`: of the fault that stopped it; `stuck_at`: when no progress becomes a matter for people.
    """ALTER TABLE sagas.saga
        ADD COLUMN step text,
        ADD COLUMN fingerprint text,
        ADD COLUMN progressed_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN stuck_at timestamptz""",
    "GRANT UPDATE (step, fingerprint, progressed_at, stuck_at) ON sagas.saga TO sagas_app",
    """ALTER TABLE sagas.saga_event
        ADD COLUMN actor text,
        ADD COLUMN reason text,
        ADD COLUMN message_id uuid""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
