"""One ladder maps how an attempt ended to what happens next.

OUTAGE    database or broker out of reach     wait until it is back; costs no attempt
CONFLICT  serialization failure, deadlock,
          a column's type changed meanwhile   the same batch again, at once, conflicts_max times; then as PASSING
PASSING   Retryable, statement timeout        bisect the batch; the one envelope waits on the retry ladder, infra/ladder.py
BUG       everything else                     bisect the batch; the one envelope is parked with its story, infra/parking.py

A connection that breaks on one batch again and again, while others work, is no outage: after breaks_max times it counts as PASSING.
"""

from enum import Enum
from typing import Final

import asyncpg
import psycopg
from aio_pika.exceptions import AMQPError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, stop_never, wait_random_exponential

from infra.errors import Outage, Retryable
from infra.settings import Settings

Ending = Enum("Ending", ["OUTAGE", "CONFLICT", "PASSING", "BUG"])

_CONFLICTS: Final = {"40001", "40P01"}
_MISTAKEN: Final = "08P01"
"""A message against the protocol, such as a statement with an argument too many: of the class of lost connections, but a bug of ours."""
_CHANGED_MEANWHILE: Final = "cached plan must not change result type"
_OUTAGES: Final = ("08", "53", "57P", "58", "28", "25006", "3D000")
"""Beginnings of SQLSTATE: connection lost, out of disk or memory, shutting down, I/O error, login refused, read-only, no database."""
_CANCELLED_BY_TIMEOUT: Final = "57014"
# InternalClientError: the server died in the middle of a message, and the driver is out of step with what it was saying.
DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, psycopg.Error)
"""Everything that the drivers raise by themselves."""
_OUT_OF_REACH: Final = (
    *(Outage, PoolTimeout, AMQPError, OSError),
    *(asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError),
)


def ending_of(error: BaseException) -> Ending:
    """What kind of failure this is."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return Ending.OUTAGE if error.connection_invalidated else ending_of(error.orig.__cause__ or error.orig)
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        # A value that the driver cannot encode never reaches the database.
        return Ending.BUG
    if isinstance(error, _OUT_OF_REACH):
        return Ending.OUTAGE
    state = getattr(error, "sqlstate", None)
    if isinstance(error, psycopg.OperationalError) and state is None:
        # libpq has lost its server, which can't have said why.
        return Ending.OUTAGE
    if state == _MISTAKEN:
        return Ending.BUG
    if isinstance(state, str) and state.startswith(_OUTAGES):
        return Ending.OUTAGE
    if state in _CONFLICTS or _CHANGED_MEANWHILE in str(error):
        return Ending.CONFLICT
    if isinstance(error, Retryable) or state == _CANCELLED_BY_TIMEOUT:
        return Ending.PASSING
    return Ending.BUG


def while_out_of_reach(settings: Settings, *, at_most_s: float | None = None) -> AsyncRetrying:
    """Try again while the failure is an outage, for as long as it takes or `at_most_s`; anything else is raised as it is."""
    return AsyncRetrying(
        retry=retry_if_exception(lambda error: ending_of(error) is Ending.OUTAGE),
        wait=wait_random_exponential(multiplier=settings.backoff_s, max=settings.outage_backoff_max_s),
        stop=stop_never if at_most_s is None else stop_after_delay(at_most_s),
        reraise=True,
    )


def until_committed(settings: Settings) -> AsyncRetrying:
    """Try again until it is done, whatever passes meanwhile; only a bug is raised. For what must be committed before a message is acked."""
    return AsyncRetrying(
        retry=retry_if_exception(lambda error: ending_of(error) is not Ending.BUG),
        wait=wait_random_exponential(multiplier=settings.backoff_s, max=settings.outage_backoff_max_s),
        stop=stop_never,
        reraise=True,
    )
