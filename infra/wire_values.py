"""Python values as PostgreSQL's text, and its rows as Python values.

Arguments go as text without a type, so the server takes each for what its statement makes of it; an array of thousands is one literal
that a few calls of C build. Results come in binary, and JSON as the text it is.
"""

from collections.abc import Callable, Collection
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format

_ROW_CLASSES_MAX: Final = 1_000


class Row(tuple[Any, ...]):
    """A row; `row["name"]`, `row[0]`, `dict(row)` and `*row` all work."""

    __slots__ = ()
    places: dict[str, int]

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.places[key] if type(key) is str else key)

    def keys(self) -> Collection[str]:
        """The columns, in their order."""
        return self.places.keys()


@lru_cache(_ROW_CLASSES_MAX)
def row_class(columns: tuple[bytes | None, ...]) -> type[Row]:
    """The rows that have these columns."""
    return type("Row", (Row,), {"__slots__": (), "places": {(name or b"").decode(): at for at, name in enumerate(columns)}})


def as_text(value: Any) -> bytes | None:
    """The value as PostgreSQL writes it; None for NULL. Raises DataError for what it cannot be given."""
    if value is None:
        return None
    text = _written(value)
    # libpq would end the value there, and nobody would notice.
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text cannot contain NUL (0x00) bytes")
    return text.encode()


def _written(value: Any) -> str:
    write = _WRITERS.get(type(value)) or _writer_of(type(value))
    return write(value)


def _writer_of(kind: type) -> Callable[[Any], str]:
    for known, write in tuple(_WRITERS.items()):
        if issubclass(kind, known):
            _WRITERS[kind] = write
            return write
    if issubclass(kind, Collection):
        _WRITERS[kind] = _array
        return _array
    raise psycopg.DataError(f"a value of type {kind.__name__} cannot be written for PostgreSQL")


def _array(values: Collection[Any]) -> str:
    kinds = set(map(type, values))
    if len(kinds) == 1:
        # In an array of one kind, which most are, nothing is looked up for each.
        (kind,) = kinds
        if kind is str:
            return '{"' + '","'.join([_escaped(one) for one in values]) + '"}'
        if kind in _PLAIN:
            return f"{{{','.join(map(_PLAIN[kind], values))}}}"
    return f"{{{','.join(['NULL' if one is None else _quoted(_written(one)) for one in values])}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _truth(value: bool) -> str:
    return "t" if value else "f"


# What needs no quotes in an array.
_PLAIN: Final[dict[type, Callable[[Any], str]]] = {UUID: str, bool: _truth, int: int.__repr__, float: float.__repr__}
_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    str: str.__str__,
    **_PLAIN,
    Decimal: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    timedelta: lambda span: f"{span.days} days {span.seconds} seconds {span.microseconds} microseconds",
    bytes: lambda raw: f"\\x{raw.hex()}",
}


class _JsonText(Loader):
    format = Format.BINARY

    def load(self, data: psycopg.abc.Buffer) -> str:
        return bytes(data).decode()


class _JsonbText(Loader):
    format = Format.BINARY

    def load(self, data: psycopg.abc.Buffer) -> str:
        # Its first byte is the number of the format.
        return bytes(data)[1:].decode()


ADAPTERS: Final = AdaptersMap(psycopg.adapters)
ADAPTERS.register_loader("json", _JsonText)
ADAPTERS.register_loader("jsonb", _JsonbText)
