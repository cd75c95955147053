"""Rules about foreign keys, unique constraints and indexes."""

from collections.abc import Iterator
from typing import Final

from infra.rls.catalog import Catalog, Index
from infra.rls.findings import Place, Rule

_TENANT: Final = "tenant_id"


def _foreign_key_by_id(catalog: Catalog) -> Iterator[Place]:
    tables = {table.name for table in catalog.tables}
    for key in catalog.foreign_keys:
        if key.table in tables and (_TENANT, _TENANT) not in zip(key.columns, key.referred, strict=True):
            where = f"{key.table} ({', '.join(key.columns)}) to {key.refers_to} ({', '.join(key.referred)})"
            # Whatever was held to the other row's tenant_id gives way to our own.
            pairs = [(mine, theirs) for mine, theirs in zip(key.columns, key.referred, strict=True) if theirs != _TENANT]
            columns, referred = (", ".join((_TENANT, *names)) for names in zip(*pairs, strict=True))
            names = {"table": key.table, "key": key.name, "columns": columns, "refers_to": key.refers_to, "referred": referred}
            yield Place(f"foreign key {key.name} of {where}", names)


def _unique_by_id(catalog: Catalog) -> Iterator[Place]:
    for index in _of_tenants(catalog):
        if index.is_unique and _TENANT not in index.columns:
            drop = f"ALTER TABLE {index.table} DROP CONSTRAINT {index.constraint}"
            names = {"drop": drop if index.constraint else f"DROP INDEX {index.schema}.{index.name}"}
            yield _index(index, names)


def _index_not_by_tenant(catalog: Catalog) -> Iterator[Place]:
    for index in _of_tenants(catalog):
        if index.columns[0] != _TENANT and not (index.is_unique and _TENANT not in index.columns):
            yield _index(index)


def _leaky(catalog: Catalog) -> Iterator[Place]:
    for index in _of_tenants(catalog):
        if index.leaky:
            yield _index(index, found=", ".join(index.leaky))


def _of_tenants(catalog: Catalog) -> list[Index]:
    tables = {table.name for table in catalog.tables}
    return [index for index in catalog.indexes if index.table in tables]


def _index(index: Index, more: dict[str, str] | None = None, found: str = "") -> Place:
    others = ", ".join(column for column in index.columns if column != _TENANT)
    only = f" WHERE {index.only}" if index.only else ""
    names = {"table": index.table, "index": index.name, "schema": index.schema, "others": others, "only": only, **(more or {})}
    return Place(f"index {index.name} on {index.table} ({', '.join(index.columns)})", names, found)


RULES: Final = (
    Rule(
        "foreign-key-by-id",
        "a foreign key that does not hold tenant_id to the other row's tenant_id",
        "Foreign keys are checked outside row-level security: a row may refer to another tenant's, learns that it exists, and is deleted"
        " with it by ON DELETE CASCADE.",
        "ALTER TABLE {table} DROP CONSTRAINT {key}, ADD FOREIGN KEY ({columns}) REFERENCES {refers_to} ({referred});",
        _foreign_key_by_id,
    ),
    Rule(
        "unique-by-id",
        "a primary key or unique index without tenant_id",
        "Uniqueness is checked outside row-level security: one tenant is refused a value because another one has it, and so learns of it.",
        "{drop}; CREATE UNIQUE INDEX {index} ON {table} (tenant_id, {others}){only};",
        _unique_by_id,
    ),
    Rule(
        "index-not-by-tenant",
        "an index that does not begin with tenant_id",
        "A tenant's statement walks through all tenants' entries: how long it takes tells of the others, and grows with them.",
        "DROP INDEX {schema}.{index}; CREATE INDEX {index} ON {table} (tenant_id, {others}){only};",
        _index_not_by_tenant,
    ),
    Rule(
        "leaky-index",
        "an index on a type or expression whose functions are not leakproof",
        "They might tell of rows that a policy hides, so they are never an index condition under one: it is written and not used.",
        "DROP INDEX {schema}.{index}; -- and have the column in text with a CHECK, bigint, uuid or timestamptz",
        _leaky,
    ),
)
