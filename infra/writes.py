"""Statements whose rows nobody waits for, sent together as one when a scope ends, on its way with the COMMIT.

What is written is what deciding has changed, in rows that are locked by then, so the order among them does not matter: PostgreSQL runs
all of them on one snapshot, and checks foreign keys when all are done. A statement must not need what another of them has written.
How many rows were changed is checked there, too: a COMMIT that follows on the heels of a statement can only be stopped by its failure.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import psycopg

from infra.rows import LockedRowMissing
from infra.statements import Statements
from infra.wire import Answer

_PARAMETER: Final = re.compile(r"\$(\d+)")
_COMBINATIONS_MAX: Final = 256
_MISSING: Final = re.compile(r"LockedRowMissing (\d+) of (\d+)")


class Writes:
    """What one scope still has to write."""

    def __init__(self) -> None:
        self._statements: list[str] = []
        self._arguments: list[Any] = []
        self._expected: list[int | None] = []

    def add(self, statement: str, *arguments: Any, rows: int | None = None) -> None:
        """An INSERT, UPDATE or DELETE without RETURNING; with `rows`, it must change exactly so many."""
        self._statements.append(statement)
        self._arguments += arguments
        self._expected.append(rows)

    def send(self, connection: Statements) -> Answer | None:
        """Have all of it leave with what is asked next; None if there is nothing. Whoever waits for the answer, waits by `settled`."""
        if not self._statements:
            return None
        expected = tuple(rows is not None for rows in self._expected)
        statement = _together(tuple(self._statements), expected)
        answer = connection.ask(statement, *self._arguments, *(rows for rows in self._expected if rows is not None))
        self._statements, self._arguments, self._expected = [], [], []
        return answer


async def settled(sent: Answer) -> None:
    """Return once it is written. Raises LockedRowMissing if one of the statements changed other than its number of rows."""
    try:
        await sent
    except psycopg.errors.InvalidTextRepresentation as error:
        if missing := _MISSING.search(str(error)):
            raise LockedRowMissing(f"{missing[1]} rows", int(missing[2])) from None
        raise


@lru_cache(maxsize=_COMBINATIONS_MAX)
def _together(statements: Sequence[str], counted: Sequence[bool]) -> str:
    """One statement that does all of these, and fails if one that is counted changes other than its number of rows."""
    parts, checks, before = [], [], 0
    expected = sum(map(_parameters_of, statements))
    for number, (statement, is_counted) in enumerate(zip(statements, counted, strict=True)):
        parts.append(f"write_{number} AS ({_shifted(statement, before)}{' RETURNING 1' if is_counted else ''})")
        before += _parameters_of(statement)
        if is_counted:
            expected += 1
            checks.append(_check(f"(SELECT count(*) FROM write_{number})", expected))  # noqa: S608 - a number of ours
    return f"WITH {', '.join(parts)} SELECT {', '.join(checks) or '1'}"


def _check(count: str, expected: int) -> str:
    # No number is written so: the cast fails, and says why.
    return f"CASE WHEN {count} = ${expected} THEN 1 ELSE format('LockedRowMissing %s of %s', {count}, ${expected}::bigint)::integer END"


def _parameters_of(statement: str) -> int:
    return max(map(int, _PARAMETER.findall(statement)), default=0)


def _shifted(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", statement) if by else statement
