"""How an attempt ended: what is waited out, tried again, or a bug."""

import asyncpg
import pytest
from asyncpg.exceptions import _base
from sqlalchemy.exc import DBAPIError

from infra.errors import Outage, Retryable
from infra.retry import Ending, ending_of


def state(code: str) -> Exception:
    """An error of the database with this SQLSTATE."""
    error: Exception = asyncpg.PostgresError.new({"C": code, "M": "x"})
    return error


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (state("40001"), Ending.CONFLICT),
        (state("40P01"), Ending.CONFLICT),
        (state("57014"), Ending.PASSING),
        (Retryable(), Ending.PASSING),
        (state("57P01"), Ending.OUTAGE),
        (state("08006"), Ending.OUTAGE),
        (state("53300"), Ending.OUTAGE),
        (ConnectionResetError(), Ending.OUTAGE),
        (asyncpg.InterfaceError("connection is closed"), Ending.OUTAGE),
        (asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"), Ending.OUTAGE),
        (asyncpg.ProtocolError("unexpected message type"), Ending.OUTAGE),
        (Outage(), Ending.OUTAGE),
        (state("23505"), Ending.BUG),
        (state("42501"), Ending.BUG),
        (ValueError(), Ending.BUG),
        # A number that no column holds: the driver says so, and would say so for ever.
        (_base.DataError("invalid input for query argument $1: value out of int64 range"), Ending.BUG),
    ],
    ids=repr,
)
def test_each_failure_has_one_ending_wrapped_or_not(error: Exception, ending: Ending) -> None:
    assert ending_of(error) is ending
    wrapping = ValueError()
    wrapping.__cause__ = error
    assert ending_of(DBAPIError("SELECT", {}, wrapping)) is ending


def test_whatever_lost_its_connection_is_an_outage() -> None:
    assert ending_of(DBAPIError("SELECT", {}, ValueError(), connection_invalidated=True)) is Ending.OUTAGE
