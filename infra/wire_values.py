"""Python values as what PostgreSQL reads, and its rows as Python values.

Arguments go without a type, so the server takes each for what its statement makes of it: UUIDs in binary, which are most of what is
sent and need no parsing there, all else as text; an array of thousands is one value that a few calls of C build. Results come in
binary, and JSON as the text it is.
"""

import struct
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
_ONLY_UUIDS: Final = {UUID}
_UUID_OID: Final = 2950
_UUID_LENGTH: Final = (16).to_bytes(4, "big")
_ARRAY_HEADER: Final = struct.Struct(">iiIii")


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


def encoded(value: Any) -> tuple[bytes | None, Format]:
    """The value as PostgreSQL reads it, and how it is written; None for NULL. Raises DataError for what it cannot be given."""
    if value is None:
        return None, Format.TEXT
    if isinstance(value, UUID):
        return value.bytes, Format.BINARY
    if isinstance(value, list) and value and set(map(type, value)) == _ONLY_UUIDS:
        return _uuids(value), Format.BINARY
    text = _written(value)
    # libpq would end the value there, and nobody would notice.
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text cannot contain NUL (0x00) bytes")
    return text.encode(), Format.TEXT


def _uuids(values: list[UUID]) -> bytes:
    # One dimension, no NULLs, elements of type uuid, so many of them from 1; each with its length before it.
    header = _ARRAY_HEADER.pack(1, 0, _UUID_OID, len(values), 1)
    return header + b"".join([_UUID_LENGTH + one.int.to_bytes(16, "big") for one in values])


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
