"""Dead letters as the desk keeps them, what is known of the sagas beside them, and the record of what operators did.

A letter whose tenant nobody can tell belongs to the tenant 00000000-0000-0000-0000-000000000000, so that every row has an owner.
"""

from alembic import op

from infra.schema import create_service, forget, forget_messages, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# One letter for each message and each queue it dies on, however often it does. `body` is the envelope's JSON, byte for byte as it
# died first; what is no envelope is there as text, or in base64 if PostgreSQL has no text for it. What an operator edits is in
# letter_revision.
LETTER = """
    CREATE TABLE ops.letter (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        queue text NOT NULL,
        service text NOT NULL,
        type text NOT NULL,
        message_id uuid,
        saga_id uuid,
        subject text NOT NULL,
        trace_id text,
        state text NOT NULL CHECK (state IN ('DEAD', 'REPLAYING', 'SETTLED', 'ARCHIVED')),
        fingerprint text NOT NULL,
        exception_type text NOT NULL,
        error text NOT NULL,
        stack text NOT NULL,
        build text NOT NULL,
        attempts integer NOT NULL CHECK (attempts >= 0),
        deaths integer NOT NULL CHECK (deaths >= 1),
        replays_in_vain integer NOT NULL DEFAULT 0 CHECK (replays_in_vain >= 0),
        is_native boolean NOT NULL,
        is_readable boolean NOT NULL,
        sent_at timestamptz,
        first_died_at timestamptz NOT NULL,
        died_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        form text NOT NULL CHECK (form IN ('ENVELOPE', 'TEXT', 'BASE64')),
        body text NOT NULL,
        headers text NOT NULL,
        revision integer NOT NULL DEFAULT 0 CHECK (revision >= 0),
        replay_id uuid,
        PRIMARY KEY (tenant_id, id))"""

# What makes ingest idempotent: a death that is here has been taken in.
DEATH = """
    CREATE TABLE ops.death (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        letter_id uuid NOT NULL,
        at timestamptz NOT NULL,
        attempts integer NOT NULL,
        fingerprint text NOT NULL,
        error text NOT NULL,
        build text NOT NULL,
        replay_id uuid,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, letter_id) REFERENCES ops.letter ON DELETE CASCADE)"""

SAGA = """
    CREATE TABLE ops.saga (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        name text NOT NULL,
        version integer NOT NULL,
        subject text NOT NULL,
        state text NOT NULL,
        step text,
        fingerprint text,
        why text,
        sequence bigint NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, id))"""

AUDIT = """
    CREATE TABLE ops.audit (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        at timestamptz NOT NULL,
        actor text NOT NULL,
        verb text NOT NULL,
        reason text NOT NULL,
        filter text,
        replay_id uuid,
        letter_id uuid,
        outcome text NOT NULL,
        detail text NOT NULL,
        PRIMARY KEY (tenant_id, id))"""

# No grant lets anybody change an entry. This refuses those as well who need no grant: the owner, an administrator's slip.
REFUSE = """
    CREATE FUNCTION ops.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
        RAISE EXCEPTION 'what operators did is for good: % of %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = '42501';
    END $$"""

IMMUTABLE = """
    CREATE TRIGGER for_good BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.audit
    FOR EACH STATEMENT EXECUTE FUNCTION ops.refuse_change()"""

# Everything that is searched by, and nothing of what was said.
SEARCHED = """tenant_id, id, queue, service, type, message_id, saga_id, subject, trace_id, state, fingerprint, exception_type, build,
    attempts, deaths, replays_in_vain, is_native, is_readable, sent_at, first_died_at, died_at, changed_at, revision, replay_id"""

STATEMENTS = [
    *create_service("ops"),
    *forget_messages("ops"),
    LETTER,
    "CREATE INDEX letter_by_id ON ops.letter (id)",
    "CREATE INDEX letter_newest ON ops.letter (died_at, id)",
    "CREATE INDEX letter_open ON ops.letter (died_at, id) WHERE state IN ('DEAD', 'REPLAYING')",
    "CREATE INDEX letter_of_tenant ON ops.letter (tenant_id, died_at, id)",
    "CREATE INDEX letter_cause ON ops.letter (fingerprint, died_at, id)",
    "CREATE INDEX letter_message ON ops.letter (message_id)",
    "CREATE INDEX letter_saga ON ops.letter (saga_id)",
    "CREATE INDEX letter_closed ON ops.letter (state, changed_at) WHERE state IN ('SETTLED', 'ARCHIVED')",
    # What the gauges count, without looking at a letter.
    "CREATE INDEX letter_depth ON ops.letter (queue, state, first_died_at) WHERE state IN ('DEAD', 'REPLAYING')",
    *protect("ops", "letter", "SELECT, INSERT, UPDATE, DELETE"),
    "CREATE POLICY sweeper ON ops.letter FOR SELECT TO ops_sweeper USING (true)",
    f"GRANT SELECT ({SEARCHED}) ON ops.letter TO ops_sweeper",
    DEATH,
    "CREATE INDEX death_letter ON ops.death (tenant_id, letter_id, at)",
    *protect("ops", "death", "SELECT, INSERT, DELETE"),
    SAGA,
    *protect("ops", "saga", "SELECT, INSERT, UPDATE"),
    # What has ended is forgotten with the letters that it stood beside.
    *forget("ops", "saga", "at", "state"),
    AUDIT,
    "CREATE INDEX audit_newest ON ops.audit (tenant_id, at, id)",
    *protect("ops", "audit", "SELECT, INSERT"),
    "CREATE POLICY sweeper ON ops.audit FOR SELECT TO ops_sweeper USING (true)",
    "GRANT SELECT (tenant_id, id, at, actor, verb, replay_id, letter_id, outcome) ON ops.audit TO ops_sweeper",
    REFUSE,
    IMMUTABLE,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
