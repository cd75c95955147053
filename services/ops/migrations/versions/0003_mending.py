"""What operators make of a letter's payload, and what is found wrong when the services' books are compared.

The letter keeps its envelope as it died; each edit is a revision beside it, which goes when the letter is purged. What was done stays in
ops.audit.
"""

from alembic import op

from infra.schema import forget, protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# `body` is the whole envelope, `diff` what the edit changed of its data, as JSON.
LETTER_REVISION = """
    CREATE TABLE ops.letter_revision (
        tenant_id uuid NOT NULL,
        letter_id uuid NOT NULL,
        revision integer NOT NULL CHECK (revision >= 1),
        body text NOT NULL,
        actor text NOT NULL,
        reason text NOT NULL,
        at timestamptz NOT NULL,
        diff text NOT NULL,
        PRIMARY KEY (tenant_id, letter_id, revision),
        FOREIGN KEY (tenant_id, letter_id) REFERENCES ops.letter ON DELETE CASCADE)"""

# The same thing wrong again is the same row. `command` is what mends it.
FINDING = """
    CREATE TABLE ops.finding (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        kind text NOT NULL,
        key text NOT NULL,
        what text NOT NULL,
        command text NOT NULL,
        since timestamptz NOT NULL,
        first_seen timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        gone_at timestamptz,
        accepted_at timestamptz,
        accepted_by text,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT who_accepts_is_known CHECK ((accepted_at IS NULL) = (accepted_by IS NULL)))"""

STATEMENTS = [
    "SET LOCAL ROLE ops_owner",
    LETTER_REVISION,
    # Never changed; deleted only with its letter, by the foreign key.
    *protect("ops", "letter_revision", "SELECT, INSERT"),
    FINDING,
    *protect("ops", "finding", "SELECT, INSERT, UPDATE (what, command, since, first_seen, seen_at, gone_at, accepted_at, accepted_by)"),
    "CREATE INDEX finding_open ON ops.finding (tenant_id, first_seen, id) WHERE gone_at IS NULL",
    # Which there are is found across tenants; what they say is read inside one.
    *forget("ops", "finding", "gone_at"),
    "GRANT SELECT (tenant_id, id, kind, first_seen, gone_at, accepted_at) ON ops.finding TO ops_sweeper",
    # The operators' audit is listed across tenants, and by letter and replay.
    "CREATE INDEX audit_at ON ops.audit (at, id)",
    "CREATE INDEX audit_letter ON ops.audit (letter_id, at, id) WHERE letter_id IS NOT NULL",
    "CREATE INDEX audit_replay ON ops.audit (replay_id, at, id) WHERE replay_id IS NOT NULL",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
