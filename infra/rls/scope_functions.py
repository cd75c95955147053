"""The function that every policy calls: it names the tenant of the scope, or raises where there is none.

There are two forms of it that our migrations create, and both are sound: one that is called, with a search path of its own, and one that
PostgreSQL takes into each statement as an expression, which must not have settings of its own, and names everything with its schema.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from infra.rls.catalog import Function
from infra.schema import TENANT_SETTING, create_service

_PINNED: Final = "search_path=pg_catalog"
_SETTING: Final = f"pg_catalog.current_setting('{TENANT_SETTING}', true)"
_INLINE: Final = """CREATE OR REPLACE FUNCTION {schema}.require_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN {setting} OPERATOR(pg_catalog.<>) '' THEN {setting}::pg_catalog.uuid ELSE {schema}.refuse_no_tenant() END $$"""
_REFUSING: Final = """CREATE OR REPLACE FUNCTION {schema}.refuse_no_tenant() RETURNS uuid LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog AS $$
    BEGIN
        RAISE EXCEPTION 'no tenant scope is set' USING ERRCODE = '42501';
    END $$"""


def called(schema: str) -> str:
    """The statement that creates the form that is called."""
    start = f"CREATE FUNCTION {schema}.require_tenant()"
    [created] = [statement for statement in create_service(schema) if statement.startswith(start)]
    return created.replace("CREATE", "CREATE OR REPLACE", 1)


def inlined(schema: str) -> tuple[str, str]:
    """The statements that create the form that is taken into each statement: what raises, and the expression."""
    return _REFUSING.format(schema=schema), _INLINE.format(schema=schema, setting=_SETTING)


def altered(schema: str, functions: Mapping[str, Function]) -> Iterator[tuple[str, str, str]]:
    """What is neither of the two, or not there: its name, what is wrong if that is a detail, and the SQL that mends it."""
    name, refusing = f"{schema}.require_tenant()", f"{schema}.refuse_no_tenant()"
    refuse, inline = inlined(schema)
    found = functions.get(name)
    if _is(found, called(schema)):
        yield from _unpinned(found)
    elif _is(found, inline):
        if not _is(functions.get(refusing), refuse):
            yield refusing, "", refuse
        yield from _unpinned(functions.get(refusing))
    else:
        # The form that this schema had: what raises in the inlined one is there for nothing else.
        yield name, "", inline if refusing in functions else called(schema)


def _is(found: Function | None, created: str) -> bool:
    return found is not None and found.body.split() == created.split("$$")[1].split()


def _unpinned(found: Function | None) -> Iterator[tuple[str, str, str]]:
    if found is not None and _PINNED not in found.settings:
        yield found.name, "its search_path is not pinned", f"ALTER FUNCTION {found.name} SET search_path = pg_catalog"
