"""What PostgreSQL's own catalog says about schemas: their tables, policies, indexes, functions, roles and grants. No row of anybody's.

The questions are in infra/rls/questions.py; here is what comes of them, for the rules to look at.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from infra.rls import questions
from infra.schema import ROLES, TENANT_SETTING

EVERYBODY: Final = "public"
"""What PostgreSQL calls everybody in a policy or a grant; and the schema that is everybody's."""


class Relation(NamedTuple):
    """A table, or something else that is selected from. `name` has its schema in front, as all names here."""

    schema: str
    name: str
    kind: str
    is_partition: bool
    has_tenant: bool
    """It has `tenant_id uuid NOT NULL`."""
    is_enabled: bool
    is_forced: bool
    owner: str
    is_invoker: bool
    """A view that reads with the rights of whoever asks it."""

    @property
    def is_table(self) -> bool:
        return self.kind in ("r", "p")


class Policy(NamedTuple):
    """A policy; `using` and `check` are None where it has no such part."""

    schema: str
    table: str
    name: str
    is_permissive: bool
    roles: Sequence[str]
    command: str
    using: str | None
    check: str | None


class Index(NamedTuple):
    """An index; of its columns those that are expressions are written as such. `leaky`: functions that are not leakproof."""

    table: str
    schema: str
    name: str
    is_unique: bool
    constraint: str | None
    columns: Sequence[str]
    only: str | None
    """The condition that rows in it fulfil."""
    leaky: Sequence[str]


class ForeignKey(NamedTuple):
    """A foreign key, column by column."""

    table: str
    name: str
    columns: Sequence[str]
    refers_to: str
    referred: Sequence[str]


class Function(NamedTuple):
    """A function with its arguments' types."""

    schema: str
    name: str
    is_definer: bool
    body: str
    settings: Sequence[str]


class Role(NamedTuple):
    """A role, the roles that it is a member of, and what it may do beside using tables."""

    name: str
    is_superuser: bool
    bypasses: bool
    powers: Sequence[str]
    member_of: Sequence[str]


class Grant(NamedTuple):
    """A privilege on a relation or on one of its columns, of somebody who does not own it."""

    schema: str
    relation: str
    grantee: str
    privilege: str
    column: str | None


class Catalog(NamedTuple):
    """Everything that the rules look at."""

    services: Sequence[str]
    relations: Sequence[Relation]
    policies: Sequence[Policy]
    indexes: Sequence[Index]
    foreign_keys: Sequence[ForeignKey]
    functions: Sequence[Function]
    roles: Sequence[Role]
    grants: Sequence[Grant]
    scopes_by_default: Sequence[str]
    """Whose sessions begin inside a tenant: a role, a database, or every session of the server."""

    @property
    def tables(self) -> list[Relation]:
        """The tables with a tenant. One without is a finding by itself, and no other rule means anything for it."""
        return [relation for relation in self.relations if relation.is_table and relation.has_tenant]


async def read_catalog(connection: asyncpg.Connection, services: Sequence[str]) -> Catalog:
    """What there is in these services' schemas and in `public`; elsewhere what reads from them, and what their roles are granted."""
    schemas = [*services, EVERYBODY]
    roles = [f"{service}_{role}" for service in services for role in ("owner", *ROLES)]
    return Catalog(
        services,
        [Relation(*row) for row in await connection.fetch(questions.RELATIONS, schemas, services)],
        [Policy(*row) for row in await connection.fetch(questions.POLICIES, schemas)],
        [Index(*row) for row in await connection.fetch(questions.INDEXES, schemas)],
        [ForeignKey(*row) for row in await connection.fetch(questions.FOREIGN_KEYS, schemas)],
        [Function(*row) for row in await connection.fetch(questions.FUNCTIONS, schemas)],
        [Role(*row) for row in await connection.fetch(questions.ROLES, roles)],
        [Grant(*row) for row in await connection.fetch(questions.GRANTS, schemas, roles)],
        [row[0] for row in await connection.fetch(questions.SCOPES_BY_DEFAULT, roles, f"{TENANT_SETTING}=%", TENANT_SETTING)],
    )
