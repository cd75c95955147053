"""How values are written for PostgreSQL, and how its rows are read; that the server reads them back is tests/integration/test_wire.py's."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg.adapt import Transformer
from psycopg.pq import Format

from infra.wire_values import ADAPTERS, Row, encoded, encoder_of, row_class

ONE: Final = UUID(int=1)
UUID_OID, UUIDS_OID, TEXTS_OID, NUMBERS_OID, TIMES_OID = 2950, 2951, 1009, 1016, 1185


class Colour(StrEnum):
    RED = "red"


class Old(str, Enum):  # noqa: UP042 - so are they written elsewhere, and str() of one is not its value
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Plain(Enum):
    RED = "red"


class Name(str):
    """As a library may return it."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not what it is"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it's", "it's"),
        ("", ""),
        (Colour.RED, "red"),
        (Old.RED, "red"),
        (Name("alice"), "alice"),
        (Size.BIG, "3"),
        (True, "t"),
        (-7, "-7"),
        (1e300, "1e+300"),
        (Decimal("1.10"), "1.10"),
        (date(1, 2, 3), "0001-02-03"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006+00:00"),
        (timedelta(seconds=-1), "-1 days 86399 seconds 0 microseconds"),
        (b"\0\xff", "\\x00ff"),
    ],
)
def test_a_value_is_written_as_postgresql_writes_it(value: object, text: str) -> None:
    assert encoded(value) == (text.encode(), Format.TEXT)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "{}"),
        (set(), "{}"),
        ([None], "{NULL}"),
        (["NULL", ""], '{"NULL",""}'),
        (["NULL", None], '{"NULL",NULL}'),
        (['a"b\\c', "{d,e}"], '{"a\\"b\\\\c","{d,e}"}'),
        (['a"b\\c', None], '{"a\\"b\\\\c",NULL}'),
        ([Colour.RED, Old.RED, "blue"], '{"red","red","blue"}'),
        ((True, False), '{"t","f"}'),
        ([1, None], '{"1",NULL}'),
        ([b"\1", b""], '{"\\\\x01","\\\\x"}'),
        ({ONE: "a key"}.keys(), f'{{"{ONE}"}}'),
    ],
)
def test_an_array_is_one_literal_in_which_nothing_can_be_mistaken(values: object, text: str) -> None:
    assert encoded(values) == (text.encode(), Format.TEXT)


def test_none_is_null_and_not_a_text() -> None:
    assert encoded(None)[0] is None


class Identifier(UUID):
    """As another driver returns it."""


def test_a_uuid_is_its_sixteen_bytes_once_the_server_wants_one() -> None:
    assert encoder_of(UUID_OID)(ONE) == (bytes(15) + b"\1", Format.BINARY)


@pytest.mark.parametrize("value", [ONE, Identifier(int=1)])
def test_a_uuid_is_text_where_nobody_knows_better(value: UUID) -> None:
    assert encoded(value) == (str(ONE).encode(), Format.TEXT)


@pytest.mark.parametrize(
    ("oid", "values"),
    [
        (UUIDS_OID, [ONE, None, ONE]),
        (TEXTS_OID, ["a", None, "", '{"b": "\\\n,NULL"}']),
        (NUMBERS_OID, [1, -(2**62), None]),
        (TIMES_OID, [datetime(2026, 11, 24, 3, 4, 5, 678901, tzinfo=UTC), None, datetime(1999, 1, 1, tzinfo=UTC)]),
    ],
)
def test_an_array_goes_in_binary_as_the_driver_reads_it_back(oid: int, values: list[object]) -> None:
    raw, form = encoder_of(oid)(values)
    assert form is Format.BINARY
    assert Transformer(ADAPTERS).get_loader(oid, Format.BINARY).load(raw or b"") == values


@pytest.mark.parametrize(
    ("oid", "values"), [(UUIDS_OID, [str(ONE)]), (TEXTS_OID, [1]), (TEXTS_OID, [None]), (NUMBERS_OID, []), (TEXTS_OID, ("a",))]
)
def test_an_array_of_anything_else_goes_as_text(oid: int, values: object) -> None:
    assert encoder_of(oid)(values) == encoded(values)
    assert encoder_of(oid)(values)[1] is Format.TEXT


def test_no_array_in_binary_has_a_nul() -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        encoder_of(TEXTS_OID)(["a", "b\0"])


@pytest.mark.parametrize("values", [[ONE, None], [ONE, Identifier(int=1)], [Identifier(int=1)], (ONE,), {ONE}])
def test_an_array_that_is_no_list_of_plain_uuids_alone_is_a_literal(values: object) -> None:
    text, form = encoded(values)
    assert str(ONE).encode() in (text or b"")
    assert form is Format.TEXT


@pytest.mark.parametrize("value", ["a\0b", ["a\0b"], ["a", None, "\0"], Name("\0")])
def test_what_libpq_would_cut_off_is_refused(value: object) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        encoded(value)


@pytest.mark.parametrize("value", ["\ud800", ["a", "\udfff"]])
def test_half_a_character_is_an_error(value: object) -> None:
    with pytest.raises(UnicodeEncodeError):
        encoded(value)


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "object"),
        (1j, "complex"),
        (time(1), "time"),
        (Plain.RED, "Plain"),
        (numbers(), "generator"),
        (bytearray(b"a"), "bytearray"),
        ({"a": 1}, "dict"),
    ],
)
def test_a_value_of_no_known_type_is_refused_by_the_name_of_its_type(value: object, named: str) -> None:
    for given in (value, [value], [None, value]):
        with pytest.raises(psycopg.DataError, match=rf"\b{named}\b"):
            encoded(given)


def row(**columns: Any) -> Row:
    return row_class(tuple(name.encode() for name in columns))(columns.values())


def test_a_row_is_read_by_name_by_place_as_a_dict_and_unpacked() -> None:
    found = row(name="bread", price=120)
    name, price = found
    assert (found["name"], found[1], found[-1], found[:1]) == ("bread", 120, 120, ("bread",))
    assert (name, price) == (*found,) == ("bread", 120)
    assert dict(found) == {"name": "bread", "price": 120} == {**found}
    assert list(found.keys()) == ["name", "price"]


def test_a_row_equals_the_tuple_of_its_values_and_can_be_in_a_set() -> None:
    assert row(a=1, b=None) == (1, None) == row(c=1, d=None)
    assert {row(a=1), (1,)} == {(1,)}
    assert row() == ()


def test_a_column_that_the_row_has_not_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="colour"):
        row(name="bread")["colour"]
    with pytest.raises(IndexError):
        row(name="bread")[1]


def test_rows_of_other_columns_do_not_share_their_names() -> None:
    first, second = row(a=1, b=2), row(b=3, a=4)
    assert (first["a"], second["a"]) == (1, 4)
    with pytest.raises(KeyError):
        row(c=1)["a"]
