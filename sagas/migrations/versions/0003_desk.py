"""What operators find sagas by, and the record of what they tried.

An order's row is written about five times while it is open and once when it ends, and every write goes into every index that has the
row. So what is open is found through indexes that are there already (`saga_wake`) or that hold few rows (`saga_for_people`), and
what has ended through indexes that only its last write enters.
"""

from alembic import op

from infra.schema import protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# No grant lets anybody change an attempt. This refuses those as well who need no grant: the owner, an administrator's slip.
REFUSE = """
    CREATE FUNCTION sagas.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    BEGIN
        RAISE EXCEPTION 'what operators tried is for good: % of %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = '42501';
    END $$"""

IMMUTABLE = """
    CREATE TRIGGER for_good BEFORE UPDATE OR DELETE OR TRUNCATE ON sagas.operator_audit
    FOR EACH STATEMENT EXECUTE FUNCTION sagas.refuse_change()"""

ENDED = "state IN ('COMPLETED', 'ABANDONED')"
FOR_PEOPLE = "state IN ('NEEDS_ATTENTION', 'PARKED', 'PAUSED')"

STATEMENTS = [
    "SET LOCAL ROLE sagas_owner",
    # An order is looked for across tenants too: the subject alone says enough.
    "DROP INDEX sagas.saga_subject",
    "CREATE INDEX saga_subject ON sagas.saga (subject)",
    f"CREATE INDEX saga_for_people ON sagas.saga (started_at, id) WHERE {FOR_PEOPLE}",
    f"CREATE INDEX saga_ended ON sagas.saga (name, state, started_at, id) WHERE {ENDED}",
    f"CREATE INDEX saga_ended_of_tenant ON sagas.saga (tenant_id, name, state, started_at, id) WHERE {ENDED}",
    f"CREATE INDEX saga_ended_id ON sagas.saga (id) WHERE {ENDED}",
    """GRANT SELECT (name, version, subject, state, revision, step, fingerprint, started_at, changed_at, progressed_at, stuck_at)
        ON sagas.saga TO sagas_sweeper""",
    # Random ids of a dozen facts per order: a tree would cost more than the facts. This index is made when a range of pages is full.
    """CREATE INDEX saga_event_found ON sagas.saga_event
        USING brin (message_id uuid_bloom_ops (false_positive_rate = 0.001), trace_id text_bloom_ops (false_positive_rate = 0.001))
        WITH (pages_per_range = 32, autosummarize = on)""",
    "CREATE POLICY sweeper ON sagas.saga_event FOR SELECT TO sagas_sweeper USING (true)",
    "GRANT SELECT (tenant_id, saga_id, message_id, trace_id) ON sagas.saga_event TO sagas_sweeper",
    """CREATE TABLE sagas.operator_audit (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        at timestamptz NOT NULL,
        actor text NOT NULL,
        verb text NOT NULL,
        saga_id uuid NOT NULL,
        revision bigint,
        reason text NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('DONE', 'REFUSED', 'MOVED', 'FAILED')),
        detail text NOT NULL,
        PRIMARY KEY (tenant_id, id))""",
    "CREATE INDEX operator_audit_saga ON sagas.operator_audit (tenant_id, saga_id, at)",
    # Append-only, refused attempts included: nobody who acts can change what is said of it.
    *protect("sagas", "operator_audit", "SELECT, INSERT"),
    REFUSE,
    IMMUTABLE,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
