"""Python values as what PostgreSQL reads, and its rows as Python values.

Arguments go without a type, so the server takes each for what its statement makes of it: as text, which anything can be read from. Once
it has said what a statement's parameters are, arrays of UUIDs, texts, numbers and times go in binary, which nobody has to escape and
parse; they are most of what is sent. Results come in binary, and JSON as the text it is.
"""

import struct
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format

_ROW_CLASSES_MAX: Final = 1_000
_NUL: Final = "PostgreSQL text cannot contain NUL (0x00) bytes"
_UUID_LENGTH: Final = (16).to_bytes(4, "big")
_UUID_OID: Final = 2950
_NULL_ELEMENT: Final = (-1).to_bytes(4, "big", signed=True)
_ARRAY_HEADER: Final = struct.Struct(">iiIii")
_LENGTH: Final = struct.Struct(">i")
_LENGTH_AND_NUMBER: Final = struct.Struct(">iq")
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


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
    text = _written(value)
    # libpq would end the value there, and nobody would notice.
    if "\0" in text:
        raise psycopg.DataError(_NUL)
    return text.encode(), Format.TEXT


Encode = Callable[[Any], tuple[bytes | None, Format]]


def encoder_of(oid: int) -> Encode:
    """How values for a parameter of this type are written; whatever is not what it expects goes as text."""
    if oid == _UUID_OID:
        return _encoded_uuid
    if (element := _BINARY_ARRAYS.get(oid)) is None:
        return encoded
    kind, element_oid, write = element
    only, or_null = {kind}, {kind, type(None)}

    def encode(values: Any) -> tuple[bytes | None, Format]:
        if type(values) is not list or not values or not ((kinds := set(map(type, values))) == only or kinds == or_null):
            return encoded(values)
        # One dimension, whether there are NULLs, the elements' type, so many of them from 1; each with its length before it.
        header = _ARRAY_HEADER.pack(1, len(kinds) - 1, element_oid, len(values), 1)
        return header + b"".join([_NULL_ELEMENT if one is None else write(one) for one in values]), Format.BINARY

    return encode


def _encoded_uuid(value: Any) -> tuple[bytes | None, Format]:
    return (value.bytes, Format.BINARY) if type(value) is UUID else encoded(value)


def _uuid_element(value: UUID) -> bytes:
    return _UUID_LENGTH + value.int.to_bytes(16, "big")


def _text_element(value: str) -> bytes:
    if "\0" in value:
        raise psycopg.DataError(_NUL)
    text = value.encode()
    return _LENGTH.pack(len(text)) + text


def _time_element(value: datetime) -> bytes:
    since = value - _EPOCH
    return _LENGTH_AND_NUMBER.pack(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _written(value: Any) -> str:
    write = _WRITERS.get(type(value)) or _writer_of(type(value))
    return write(value)


def _writer_of(kind: type) -> Callable[[Any], str]:
    for known, write in tuple(_WRITERS.items()):
        if issubclass(kind, known):
            _WRITERS[kind] = write
            return write
    if issubclass(kind, Collection) and not issubclass(kind, Mapping | bytearray | memoryview):
        _WRITERS[kind] = _array
        return _array
    raise psycopg.DataError(f"a value of type {kind.__name__} cannot be written for PostgreSQL")


def _array(values: Collection[Any]) -> str:
    return f"{{{','.join(['NULL' if one is None else _quoted(_written(one)) for one in values])}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _truth(value: bool) -> str:
    return "t" if value else "f"


_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    str: str.__str__,
    UUID: str,
    # Before int, whose subclass it is.
    bool: _truth,
    int: int.__repr__,
    float: float.__repr__,
    Decimal: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    timedelta: lambda span: f"{span.days} days {span.seconds} seconds {span.microseconds} microseconds",
    bytes: lambda raw: f"\\x{raw.hex()}",
}


# By the array's type: what a value must be, the elements' type, and how one is written. The numbers are PostgreSQL's, for good.
_BINARY_ARRAYS: Final[dict[int, tuple[type, int, Callable[[Any], bytes]]]] = {
    2951: (UUID, _UUID_OID, _uuid_element),
    1009: (str, 25, _text_element),
    1016: (int, 20, lambda number: _LENGTH_AND_NUMBER.pack(8, number)),
    1185: (datetime, 1184, _time_element),
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
