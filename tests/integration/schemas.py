"""Compares what a migration made with what a model declares."""

from typing import NamedTuple

from sqlalchemy import Table

from infra.transaction import Scope

_COLUMNS = """
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable,
           coalesce(attnum = ANY(key.conkey), false) AS is_key
    FROM pg_attribute LEFT JOIN pg_constraint AS key ON key.conrelid = attrelid AND key.contype = 'p'
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum"""


class Column(NamedTuple):
    """A column as PostgreSQL describes it."""

    name: str
    type: str
    nullable: bool
    is_key: bool


async def columns_of(scope: Scope, row: type) -> list[Column]:
    """The columns of the model's table in the database."""
    found = [Column(*record) for record in await scope.connection.fetch(_COLUMNS, _table(row).fullname)]
    assert found, f"{_table(row).fullname} has no columns"
    return found


def declared_columns(scope: Scope, row: type) -> list[Column]:
    """The columns that the model declares."""
    dialect = scope.session.get_bind().dialect
    return [
        Column(column.name, column.type.compile(dialect).lower(), bool(column.nullable), bool(column.primary_key))
        for column in _table(row).columns
    ]


def _table(row: type) -> Table:
    table = getattr(row, "__table__", None)
    assert isinstance(table, Table), f"{row.__name__} is no table"
    return table
