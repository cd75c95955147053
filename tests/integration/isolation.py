"""What row-level security needs of every table and role, read from PostgreSQL's own catalog."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import asyncpg

from infra.schema import ROLES

_TABLES: Final = """
    SELECT nspname || '.' || relname AS name, relkind::text AS kind, relrowsecurity AS enabled, relforcerowsecurity AS forced,
           pg_get_userbyid(relowner) AS owner
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = $1 AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY relname"""

_POLICIES: Final = """
    SELECT schemaname || '.' || tablename AS name, policyname AS policy, permissive, roles::text[] AS roles, cmd, qual, with_check
    FROM pg_policies WHERE schemaname = $1"""

_KEYS: Final = """
    SELECT conrelid::regclass::text AS name, conname, contype::text AS type, coalesce(confrelid::regclass::text, '') AS refers_to,
           ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
                 JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place) AS columns,
           ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY AS key (number, place)
                 JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY place) AS referred
    FROM pg_constraint WHERE connamespace = $1::regnamespace AND contype IN ('p', 'u', 'f')"""

_ROLES: Final = """
    SELECT rolname AS name, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication AS mighty,
           rolname <> $2 AND pg_has_role(rolname, $3, 'MEMBER') AS owns
    FROM pg_roles WHERE rolname = ANY($1)"""

_DEFINERS: Final = "SELECT proname FROM pg_proc WHERE pronamespace = $1::regnamespace AND prosecdef"


async def tables_of(connection: asyncpg.Connection, schema: str) -> list[str]:
    """Every table of the schema, with the schema in front."""
    found = [row["name"] for row in await connection.fetch(_TABLES, schema)]
    assert found, f"schema {schema} has no tables"
    return found


async def foreign_keys_of(connection: asyncpg.Connection, schema: str) -> list[asyncpg.Record]:
    """name, conname, columns, refers_to, referred of every foreign key."""
    return [key for key in await connection.fetch(_KEYS, schema) if key["type"] == "f"]


async def problems(connection: asyncpg.Connection, schema: str) -> list[str]:
    """Everything about the schema by which one tenant might meet another; empty if there is nothing."""
    await tables_of(connection, schema)
    found = []
    for check in (_tables, _policies, _keys, _roles):
        found += [problem async for problem in check(connection, schema)]
    return found


async def _tables(connection: asyncpg.Connection, schema: str) -> AsyncIterator[str]:
    for row in await connection.fetch(_TABLES, schema):
        if row["kind"] not in "rp":
            yield f"{row['name']} is no table, so policies do not protect it"
        if not row["enabled"]:
            yield f"{row['name']}: row-level security is not enabled"
        if not row["forced"]:
            yield f"{row['name']}: row-level security is not forced on its owner"
        if row["owner"] != f"{schema}_owner":
            yield f"{row['name']} belongs to {row['owner']}"
    for row in await connection.fetch(_DEFINERS, schema):
        yield f"function {row['proname']} runs with its owner's rights"


async def _policies(connection: asyncpg.Connection, schema: str) -> AsyncIterator[str]:
    found = await connection.fetch(_POLICIES, schema)
    raising = f"(tenant_id = ( SELECT {schema}.require_tenant() AS require_tenant))"
    for name in await tables_of(connection, schema):
        of_table = [row for row in found if row["name"] == name]
        for policy in of_table:
            if policy["permissive"] != "PERMISSIVE" or policy["roles"] not in _single_roles(schema):
                yield f"{name}: policy {policy['policy']} is {policy['permissive']} for {policy['roles']}"
        for_app = [row for row in of_table if f"{schema}_app" in row["roles"] or "public" in row["roles"]]
        if [(row["cmd"], row["qual"], row["with_check"]) for row in for_app] != [("ALL", raising, raising)]:
            yield f"{name}: the application needs one policy, {raising}, and has {[tuple(row.values()) for row in for_app]}"
        roles = [role for row in of_table for role in row["roles"]]
        if len(set(roles)) < len(roles):
            yield f"{name}: two policies for one role are joined by OR"


async def _keys(connection: asyncpg.Connection, schema: str) -> AsyncIterator[str]:
    keys = await connection.fetch(_KEYS, schema)
    for key in keys:
        if key["columns"][0] != "tenant_id":
            yield f"{key['name']}: {key['conname']} does not begin with tenant_id"
        if key["type"] == "f" and key["referred"][0] != "tenant_id":
            yield f"{key['name']}: {key['conname']} may refer to another tenant's row"
    for name in set(await tables_of(connection, schema)) - {key["name"] for key in keys if key["type"] == "p"}:
        yield f"{name} has no primary key"


async def _roles(connection: asyncpg.Connection, schema: str) -> AsyncIterator[str]:
    names = [f"{schema}_{role}" for role in ROLES]
    found = await connection.fetch(_ROLES, names, f"{schema}_migrator", f"{schema}_owner")
    if len(found) != len(names):
        yield f"of the roles {names} there are only {len(found)}"
    for row in found:
        if row["mighty"]:
            yield f"role {row['name']} may do more than use tables"
        if row["owns"]:
            yield f"role {row['name']} may become the owner"


def _single_roles(schema: str) -> Sequence[list[str]]:
    return [[f"{schema}_{role}"] for role in ("app", "relay", "sweeper")]
