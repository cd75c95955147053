"""The steps on PostgreSQL for peers whose code is synchronous: one connection per thread, prepared statements, autocommit."""

import os
import threading
from typing import Any

import psycopg

from tests.bench.peers import books
from tests.bench.peers.taking import order

_own = threading.local()


def create(number: int) -> None:
    _run(books.CREATE, books.created(order(number)))


def reserve_stock(number: int) -> bool:
    """Whether there was enough."""
    return _reserved(books.RESERVE_STOCK, books.of_stock(order(number)))


def reserve_quota(number: int) -> bool:
    """Whether there was enough."""
    return _reserved(books.RESERVE_QUOTA, books.of_quota(order(number)))


def confirm(number: int) -> None:
    _run(books.CONFIRM, (number,))


def release_stock(number: int) -> None:
    _run(books.RELEASE_STOCK, (number,))


def reject(number: int) -> None:
    _run(books.REJECT, (number,))


def _reserved(statement: str, values: tuple[int, ...]) -> bool:
    try:
        return bool(_run(statement, values).rowcount)
    except psycopg.errors.UniqueViolation:
        # An earlier try had committed, and this one has changed nothing.
        return True


def _run(statement: str, values: tuple[int, ...]) -> Any:
    if not hasattr(_own, "cursor"):
        # Raw: with PostgreSQL's own $1, not rewritten on each call.
        _own.cursor = psycopg.RawCursor(psycopg.connect(os.environ[books.POSTGRES], autocommit=True, prepare_threshold=0))
    return _own.cursor.execute(statement, values)
