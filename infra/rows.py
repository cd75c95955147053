"""Counting what a statement did: under row-level security an UPDATE that misses its row is no error, only a smaller number."""


class LockedRowMissing(Exception):
    """A row that this transaction holds locked was not there to be changed: the tenant scope or a statement is wrong."""

    def __init__(self, done: str, expected: int) -> None:
        super().__init__(f"expected {expected} rows, the database answered {done}")
        self.done = done
        self.expected = expected


def require_updated(done: str, expected: int) -> None:
    """Raise LockedRowMissing unless the command tag `done`, such as `UPDATE 3`, counts `expected` rows."""
    if done != f"UPDATE {expected}":
        raise LockedRowMissing(done, expected)
