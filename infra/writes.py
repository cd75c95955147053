"""Statements whose rows nobody waits for, sent together as one when a scope ends: one round trip instead of one each.

What is written is what deciding has changed, in rows that are locked by then, so the order among them does not matter: PostgreSQL runs
all of them on one snapshot, and checks foreign keys when all are done. A statement must not need what another of them has written.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg

from infra.rows import LockedRowMissing

_PARAMETER: Final = re.compile(r"\$(\d+)")
_COMBINATIONS_MAX: Final = 256


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

    async def flush(self, connection: asyncpg.Connection) -> None:
        """Write all of it now, in one statement. Raises LockedRowMissing if one changed other than its number of rows."""
        if not self._statements:
            return
        statements, arguments, expected = tuple(self._statements), self._arguments, tuple(self._expected)
        self._statements, self._arguments, self._expected = [], [], []
        done = await connection.fetchrow(_together(statements, tuple(rows is not None for rows in expected)), *arguments)
        for counted, rows in zip(done or (), (rows for rows in expected if rows is not None), strict=False):
            if counted != rows:
                raise LockedRowMissing(f"{counted} rows", rows)


@lru_cache(maxsize=_COMBINATIONS_MAX)
def _together(statements: Sequence[str], counted: Sequence[bool]) -> str:
    """One statement that does all of these and answers how many rows the counted ones changed."""
    parts, counts, before = [], [], 0
    for number, (statement, is_counted) in enumerate(zip(statements, counted, strict=True)):
        parts.append(f"write_{number} AS ({_shifted(statement, before)}{' RETURNING 1' if is_counted else ''})")
        counts += [f"(SELECT count(*) FROM write_{number})"] if is_counted else []  # noqa: S608 - a number of ours
        before += max(map(int, _PARAMETER.findall(statement)), default=0)
    return f"WITH {', '.join(parts)} SELECT {', '.join(counts) or '1'}"


def _shifted(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", statement) if by else statement
