"""The function that every policy calls: it names the tenant of the scope, or raises where there is none.

There are two forms of it that our migrations create, and both are sound: one that is called, with a search path of its own, and one that
PostgreSQL takes into each statement as an expression, which must not have settings of its own, and names everything with its schema.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from infra.rls.catalog import Function
from infra.schema import create_service, inline_scope

_PINNED: Final = "search_path=pg_catalog"
_CREATE: Final = re.compile("CREATE (OR REPLACE )?FUNCTION")


def called(schema: str) -> str:
    """The statement that creates the form that is called."""
    return _creating(f"{schema}.require_tenant()", create_service(schema))


def inlined(schema: str) -> tuple[str, str]:
    """The statements that create the form that is taken into each statement: what raises, and the expression."""
    statements = inline_scope(schema)
    return _creating(f"{schema}.refuse_no_tenant()", statements), _creating(f"{schema}.require_tenant()", statements)


def _creating(function: str, statements: Iterable[str]) -> str:
    [created] = [one for one in statements if _CREATE.match(one) and f" FUNCTION {function} " in one]
    return _CREATE.sub("CREATE OR REPLACE FUNCTION", created)


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
