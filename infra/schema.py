"""The part of a schema that every service has alike, as SQL for its first migration.

    <s>_owner     NOLOGIN  owns every table; nobody works as it but migrations
    <s>_migrator  LOGIN    may become the owner
    <s>_app       LOGIN    DML inside one tenant at a time; never BYPASSRLS
    <s>_relay     LOGIN    deletes confirmed outbox rows, sees their keys and times only
    <s>_sweeper   LOGIN    finds overdue ids across tenants, sees no content

A released migration never changes: what has to look different later is a new function here and a new migration.
A test holds the digest of the SQL that each released migration produces.
"""

from typing import Final

TENANT_SETTING: Final = "oaas.tenant_id"
ROLES: Final = ("migrator", "app", "relay", "sweeper")


def create_service(schema: str) -> list[str]:
    """Roles, schema, the function that names the current tenant or raises, inbox, outbox. Run as administrator."""
    return [*_roles(schema), *_schema(schema), *_outbox(schema), *_inbox(schema)]


def protect(schema: str, table: str, grants: str = "SELECT, INSERT, UPDATE") -> list[str]:
    """Row-level security on for everybody, the owner included, and the one policy by which the service works."""
    return [
        f"ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY",
        # The scalar sub-select is evaluated once per statement; the bare function would be called for every row.
        f"CREATE POLICY app ON {schema}.{table} TO {schema}_app"
        f" USING (tenant_id = (SELECT {schema}.require_tenant())) WITH CHECK (tenant_id = (SELECT {schema}.require_tenant()))",
        f"GRANT {grants} ON {schema}.{table} TO {schema}_app",
    ]


def answer_later(schema: str) -> list[str]:
    """For a service with use cases that answer LATER: the commands it still has to answer. Run as the schema's owner."""
    return [
        f"""CREATE TABLE {schema}.unanswered (
            tenant_id uuid NOT NULL,
            command_id uuid NOT NULL,
            type text NOT NULL,
            subject text NOT NULL,
            saga_id uuid,
            traceparent text,
            asked_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, command_id))""",
        f"CREATE INDEX unanswered_subject ON {schema}.unanswered (tenant_id, subject, type)",
        *protect(schema, "unanswered", "SELECT, INSERT, DELETE"),
    ]


def forget(schema: str, table: str, *columns: str) -> list[str]:
    """The sweeper may delete rows of the table: it walks through its pages and sees of a row `columns` only. Run as the schema's owner."""
    return [
        f"CREATE POLICY sweeper ON {schema}.{table} TO {schema}_sweeper USING (true)",
        # ctid: where a row lies. It finds rows by that, so that nobody who writes one has an index more to keep.
        f"GRANT SELECT (ctid, {', '.join(columns)}), DELETE ON {schema}.{table} TO {schema}_sweeper",
    ]


def forget_messages(schema: str) -> list[str]:
    """What every service forgets: messages that it handled long ago, and old suspicions. Run as the schema's owner."""
    return [*forget(schema, "inbox", "received_at"), *forget(schema, "suspect", "marked_at")]


def renew_outbox(schema: str) -> list[str]:
    """What is sent again under the same id renews its row, and the relay sees whether it is the one it has published. Run as the owner."""
    return [
        f"GRANT UPDATE (exchange, routing_key, body, headers, created_at, due_at) ON {schema}.outbox TO {schema}_app",
        f"GRANT SELECT (created_at) ON {schema}.outbox TO {schema}_relay",
    ]


def inline_scope(schema: str) -> list[str]:
    """`require_tenant` as an expression that PostgreSQL takes into each statement: called, it was a tenth of what statements cost.

    Run as the schema's owner. Every name in it is qualified, because a function with settings of its own is never taken in.
    """
    setting = f"pg_catalog.current_setting('{TENANT_SETTING}', true)"
    return [
        f"""CREATE FUNCTION {schema}.refuse_no_tenant() RETURNS uuid LANGUAGE plpgsql STABLE PARALLEL SAFE
            SET search_path = pg_catalog AS $$
            BEGIN
                RAISE EXCEPTION 'no tenant scope is set' USING ERRCODE = '42501';
            END $$""",
        f"REVOKE ALL ON FUNCTION {schema}.refuse_no_tenant() FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {schema}.refuse_no_tenant() TO {schema}_app, {schema}_owner",
        # NULL before a connection's first scope, '' after it: both mean that somebody forgot the scope.
        f"""CREATE OR REPLACE FUNCTION {schema}.require_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT CASE WHEN {setting} OPERATOR(pg_catalog.<>) '' THEN {setting}::pg_catalog.uuid
                ELSE {schema}.refuse_no_tenant() END $$""",
    ]


def _roles(schema: str) -> list[str]:
    create = "CREATE ROLE {role} {login} NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
    owner = create.format(role=f"{schema}_owner", login="NOLOGIN")
    logins = [create.format(role=f"{schema}_{role}", login="LOGIN") for role in ROLES]
    return [
        # Roles belong to the whole server and outlive a dropped database.
        *(f"DO $$ BEGIN {statement}; EXCEPTION WHEN duplicate_object THEN NULL; END $$" for statement in (owner, *logins)),
        f"GRANT {schema}_owner TO {schema}_migrator",
        # A generic plan cached while the tables were empty would scan them for ever; an index is right at every size here.
        *(f"ALTER ROLE {schema}_{role} SET enable_seqscan = off" for role in ROLES[1:]),
        *(f"ALTER ROLE {schema}_{role} SET jit = off" for role in ROLES[1:]),
    ]


def _schema(schema: str) -> list[str]:
    return [
        f"CREATE SCHEMA {schema} AUTHORIZATION {schema}_owner",
        # From here on the migration works as the owner, who must also be able to note the revision at its end.
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON public.{schema}_version TO {schema}_owner",
        f"SET LOCAL ROLE {schema}_owner",
        f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(f'{schema}_{role}' for role in ROLES)}",
        f"""CREATE FUNCTION {schema}.require_tenant() RETURNS uuid LANGUAGE plpgsql STABLE PARALLEL SAFE
            SET search_path = pg_catalog AS $$
            DECLARE tenant text := current_setting('{TENANT_SETTING}', true);
            BEGIN
                -- After a commit an unset setting reads '', not NULL: both mean that somebody forgot the scope.
                IF tenant IS NULL OR tenant = '' THEN
                    RAISE EXCEPTION 'no tenant scope is set' USING ERRCODE = '42501';
                END IF;
                RETURN tenant::uuid;
            END $$""",
        f"REVOKE ALL ON FUNCTION {schema}.require_tenant() FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION {schema}.require_tenant() TO {schema}_app, {schema}_owner",
    ]


def _outbox(schema: str) -> list[str]:
    return [
        f"""CREATE TABLE {schema}.outbox (
            tenant_id uuid NOT NULL,
            id uuid NOT NULL,
            exchange text NOT NULL,
            routing_key text NOT NULL,
            body text NOT NULL,
            headers text,
            created_at timestamptz NOT NULL,
            due_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, id))""",
        # Both are looked for across tenants: what is due by the sweeper, the oldest by the readiness check.
        f"CREATE INDEX outbox_due ON {schema}.outbox (due_at)",
        f"CREATE INDEX outbox_age ON {schema}.outbox (created_at)",
        *protect(schema, "outbox", "SELECT, INSERT"),
        # The relay works across tenants on keys alone: it can neither read a body nor write one.
        f"CREATE POLICY relay ON {schema}.outbox TO {schema}_relay USING (true)",
        f"GRANT SELECT (tenant_id, id), DELETE ON {schema}.outbox TO {schema}_relay",
        f"CREATE POLICY sweeper ON {schema}.outbox TO {schema}_sweeper USING (true)",
        f"GRANT SELECT (tenant_id, id, created_at, due_at), UPDATE (due_at) ON {schema}.outbox TO {schema}_sweeper",
    ]


def _inbox(schema: str) -> list[str]:
    return [
        f"""CREATE TABLE {schema}.inbox (
            tenant_id uuid NOT NULL,
            handler text NOT NULL,
            message_id uuid NOT NULL,
            answer text,
            received_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, handler, message_id))""",
        *protect(schema, "inbox", "SELECT, INSERT, UPDATE (answer)"),
        f"""CREATE TABLE {schema}.suspect (
            tenant_id uuid NOT NULL,
            message_id uuid NOT NULL,
            deaths integer NOT NULL CHECK (deaths >= 0),
            marked_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, message_id))""",
        *protect(schema, "suspect", "SELECT, INSERT, UPDATE (deaths, marked_at), DELETE"),
    ]
