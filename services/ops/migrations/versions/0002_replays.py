"""Replays and their items, and what services were asked about letters.

A replay belongs to its operator's tenant, or to nobody's if the operator is the platform's; an item belongs to its letter's. So no
key binds the two, and an item outlives a letter that is purged: it tells what came of it.
"""

from alembic import op

from infra.schema import forget, protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REPLAY = """
    CREATE TABLE ops.replay (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        state text NOT NULL CHECK (state IN ('PLANNED', 'RUNNING', 'PAUSED', 'STOPPED', 'CANCELLED', 'DONE')),
        actor text NOT NULL,
        reason text NOT NULL,
        filter text NOT NULL,
        includes_ended boolean NOT NULL,
        total integer NOT NULL CHECK (total >= 0),
        summary text NOT NULL,
        planned_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        rate integer NOT NULL CHECK (rate >= 1),
        canary integer CHECK (canary >= 1),
        stop_above_percent integer NOT NULL CHECK (stop_above_percent BETWEEN 0 AND 100),
        is_trusted boolean NOT NULL,
        detail text NOT NULL,
        counted_since timestamptz,
        started_at timestamptz,
        ended_at timestamptz,
        -- Whoever executes it, and until when nobody else does.
        lease_holder uuid,
        lease_until timestamptz,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT what_is_over_has_ended CHECK ((state IN ('CANCELLED', 'DONE')) = (ended_at IS NOT NULL)))"""

# `revision` and `deaths` are the letter's when it was planned: one that has changed since is not what the operator saw.
ITEM = """
    CREATE TABLE ops.replay_item (
        tenant_id uuid NOT NULL,
        replay_id uuid NOT NULL,
        letter_id uuid NOT NULL,
        number integer NOT NULL CHECK (number >= 1),
        queue text NOT NULL,
        state text NOT NULL CHECK (state IN ('WAITING', 'SENT', 'SETTLED', 'KNOWN', 'FAILED', 'LEFT_OUT')),
        revision integer NOT NULL,
        deaths integer NOT NULL,
        sends integer NOT NULL DEFAULT 0 CHECK (sends >= 0),
        detail text NOT NULL,
        sent_at timestamptz,
        ended_at timestamptz,
        PRIMARY KEY (tenant_id, replay_id, letter_id),
        CONSTRAINT what_was_sent_says_when CHECK ((sends > 0) = (sent_at IS NOT NULL)),
        CONSTRAINT what_has_ended_says_when CHECK ((state IN ('WAITING', 'SENT')) = (ended_at IS NULL)))"""

# What a service was asked about a letter, and what it answered; the asker looks here, and clears away after itself.
QUESTION = """
    CREATE TABLE ops.question (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        letter_id uuid NOT NULL,
        queue text NOT NULL,
        asked_at timestamptz NOT NULL,
        is_handled boolean,
        build text,
        answered_at timestamptz,
        PRIMARY KEY (tenant_id, id),
        CONSTRAINT an_answer_is_whole CHECK (
            (answered_at IS NULL) = (is_handled IS NULL) AND (answered_at IS NULL) = (build IS NULL)))"""

STATEMENTS = [
    "SET LOCAL ROLE ops_owner",
    REPLAY,
    "CREATE INDEX replay_newest ON ops.replay (planned_at, id)",
    "CREATE UNIQUE INDEX replay_id ON ops.replay (id)",
    "CREATE INDEX replay_open ON ops.replay (state, planned_at) WHERE state NOT IN ('CANCELLED', 'DONE')",
    *protect("ops", "replay", "SELECT, INSERT, UPDATE, DELETE"),
    *forget("ops", "replay", "ended_at"),
    "GRANT SELECT (tenant_id, id, state, actor, planned_at, expires_at, ended_at, lease_holder, lease_until) ON ops.replay TO ops_sweeper",
    ITEM,
    # Across tenants: what is next, how many there are in each state, the newest outcomes, all in order.
    "CREATE INDEX replay_item_state ON ops.replay_item (replay_id, state, number)",
    # What was never sent has an end as well, and is no outcome: a replay may begin with many thousands of these.
    "CREATE INDEX replay_item_ended ON ops.replay_item (replay_id, ended_at) WHERE ended_at IS NOT NULL AND sent_at IS NOT NULL",
    "CREATE INDEX replay_item_begun ON ops.replay_item (replay_id, sent_at) WHERE sent_at IS NOT NULL",
    "CREATE INDEX replay_item_number ON ops.replay_item (replay_id, number)",
    "CREATE INDEX replay_item_sent ON ops.replay_item (sent_at) WHERE state = 'SENT'",
    "CREATE INDEX replay_item_letter ON ops.replay_item (tenant_id, letter_id)",
    *protect("ops", "replay_item", "SELECT, INSERT, UPDATE, DELETE"),
    *forget("ops", "replay_item", "ended_at"),
    "GRANT SELECT (tenant_id, replay_id, letter_id, number, queue, state, sends, sent_at, ended_at) ON ops.replay_item TO ops_sweeper",
    QUESTION,
    *protect("ops", "question", "SELECT, INSERT, UPDATE (is_handled, build, answered_at), DELETE"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
