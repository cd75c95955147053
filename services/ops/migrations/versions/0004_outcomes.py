"""What came of each letter of a replay, for good; which part of a replay is whose; questions whose answer settles a letter.

A replay belongs to its operator, and the tenants whose letters are in it do not see it. What they may know of it, who sent how many of
their letters again and why, is a row of their own. What came of each letter is an entry of its tenant's audit, which outlives both.
"""

from alembic import op

from infra.schema import forget, protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# `started_by` is who began to send it, and why: until then nothing has happened to anybody's letters.
PART = """
    CREATE TABLE ops.replay_part (
        tenant_id uuid NOT NULL,
        replay_id uuid NOT NULL,
        total integer NOT NULL CHECK (total >= 1),
        planned_by text NOT NULL,
        planned_at timestamptz NOT NULL,
        started_by text,
        reason text NOT NULL,
        PRIMARY KEY (tenant_id, replay_id))"""

# Told to the tenants of the letters as well as to the operator of the replay: whoever looks at all of them has seen it already.
COPY = "ALTER TABLE ops.audit ADD COLUMN is_copy boolean NOT NULL DEFAULT false"

# Asked because the letter's saga went on without a replay: that it was handled settles the letter, whoever waits for the answer.
SETTLES = "ALTER TABLE ops.question ADD COLUMN settles boolean NOT NULL DEFAULT false"

STATEMENTS = [
    "SET LOCAL ROLE ops_owner",
    PART,
    *protect("ops", "replay_part", "SELECT, INSERT, UPDATE (started_by, reason), DELETE"),
    "CREATE INDEX replay_part_replay ON ops.replay_part (replay_id, tenant_id)",
    *forget("ops", "replay_part", "tenant_id", "replay_id", "planned_at"),
    COPY,
    "GRANT SELECT (is_copy) ON ops.audit TO ops_sweeper",
    # What people did, without the thousands of outcomes between.
    "CREATE INDEX audit_acts ON ops.audit (at, id) WHERE verb NOT IN ('replay', 'settle') AND NOT is_copy",
    "CREATE INDEX audit_acts_of_tenant ON ops.audit (tenant_id, at, id) WHERE verb NOT IN ('replay', 'settle')",
    "GRANT SELECT (started_at) ON ops.replay TO ops_sweeper",
    SETTLES,
    # One whose service is gone for good is never answered.
    *forget("ops", "question", "asked_at"),
    # A plan that nobody started in time is no replay that somebody ended.
    "ALTER TABLE ops.replay DROP CONSTRAINT replay_state_check, DROP CONSTRAINT what_is_over_has_ended",
    """ALTER TABLE ops.replay
        ADD CONSTRAINT replay_state_check
            CHECK (state IN ('PLANNED', 'RUNNING', 'PAUSED', 'STOPPED', 'CANCELLED', 'DONE', 'EXPIRED')),
        ADD CONSTRAINT what_is_over_has_ended CHECK ((state IN ('CANCELLED', 'DONE', 'EXPIRED')) = (ended_at IS NOT NULL))""",
    # And a letter that was not sent because its replay was cancelled was as planned.
    "ALTER TABLE ops.replay_item DROP CONSTRAINT replay_item_state_check",
    """ALTER TABLE ops.replay_item ADD CONSTRAINT replay_item_state_check
        CHECK (state IN ('WAITING', 'SENT', 'SETTLED', 'KNOWN', 'FAILED', 'LEFT_OUT', 'CANCELLED'))""",
    "DROP INDEX ops.replay_open",
    "CREATE INDEX replay_open ON ops.replay (state, planned_at) WHERE state NOT IN ('CANCELLED', 'DONE', 'EXPIRED')",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
