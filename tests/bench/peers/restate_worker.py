"""The Restate application: a service whose steps are durable each, one transaction on PostgreSQL; granian serves it over HTTP/2."""

import os
from typing import Any, Final

import asyncpg
import restate
from restate import RunOptions
from restate.serde import BytesSerde

from tests.bench.peers import books
from tests.bench.peers.taking import order

_YES: Final = b"1"
_BYTES: Final[Any] = BytesSerde()
"""Cheaper than JSON, and there is next to nothing to say."""
_OPTIONS: Final[Any] = RunOptions(serde=_BYTES)
_free: Final[list[Any]] = []
"""Connections that nobody uses. Not asyncpg's pool, which says one statement more each time it is given one back."""


async def place_order(context: Any, told: bytes) -> bytes:
    """The saga: each step is in the journal before the next."""
    work = order(int(told))
    step, own = context.run_typed, (work.number,)
    await step("create", _run, _OPTIONS, books.CREATE, books.created(work))
    if await step("reserve stock", _run, _OPTIONS, books.RESERVE_STOCK, books.of_stock(work)) == _YES:
        if await step("reserve quota", _run, _OPTIONS, books.RESERVE_QUOTA, books.of_quota(work)) == _YES:
            await step("confirm", _run, _OPTIONS, books.CONFIRM, own)
            return b""
        await step("release stock", _run, _OPTIONS, books.RELEASE_STOCK, own)
    await step("reject", _run, _OPTIONS, books.REJECT, own)
    return b""


async def _run(statement: str, values: tuple[int, ...]) -> bytes:
    """Whether a row came back; a statement that gives none back answers no."""
    connection = _free.pop() if _free else await asyncpg.connect(os.environ[books.POSTGRES])
    try:
        return _YES if await connection.fetchval(statement, *values) else b""
    except asyncpg.UniqueViolationError:
        # An earlier try had committed, and this one has changed nothing.
        return _YES
    finally:
        _free.append(connection)


def _application() -> Any:
    service: Any = restate.Service("Orders")
    told = {"accept": "application/octet-stream", "content_type": "application/octet-stream"}
    service.handler("place", input_serde=_BYTES, output_serde=_BYTES, **told)(place_order)
    return restate.app([service])


application: Final = _application()
