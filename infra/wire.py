"""A connection whose statements travel together: PostgreSQL's pipeline mode, by libpq.

Whatever is asked before the event loop comes round again leaves as one flight, and nobody hears of it before all of it has come back:
a flight costs one round trip, however many statements of however many tenants are in it. What is asked meanwhile leaves with the next.

Each statement says whose it is, and the wire enters that tenant before it whenever it was in another one: to forget it is impossible
here. Statements reach the server in the order in which they were asked, so locks are taken in that order, too.
"""

import asyncio
import select
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from contracts.values import TenantId
from infra.schema import TENANT_SETTING
from infra.wire_values import ADAPTERS, Encode, Row, encoded, encoder_of, row_class

_ENTER: Final = f"SELECT set_config('{TENANT_SETTING}', $1, true)"
_NOTHING: Final = "SELECT"
_PREPARED_MAX: Final = 500
"""Statements that are kept prepared on a connection; further ones are planned each time."""
_CANCEL_MAX_S: Final = 5.0
_LOOK_AFTER_S: Final = 1.0
_FAILED: Final = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)

Answer = asyncio.Future[PGresult]
_Arguments = list[tuple[bytes | None, Format]]


@dataclass(slots=True)
class _Prepared:
    """A statement that the server keeps under a name."""

    name: bytes
    encoders: list[Encode] | None = None
    """For its parameters, once the server has said what they are."""


class Wire:
    """One connection of the pool, for one transaction at a time."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._values = Transformer(ADAPTERS)
        self._prepared: dict[str, _Prepared] = {}
        self._number = 0
        self._tenant_id: TenantId | None = None
        self._waiting: list[tuple[TenantId | None, str, _Arguments, Answer]] = []
        # What is under way, in its order: the statement that is prepared or described, or who waits for the answer.
        self._flight: list[str | Answer | None] | None = None
        self._results: list[PGresult] = []
        self._socket = -1
        self._watch: asyncio.TimerHandle | None = None
        self._landed = asyncio.Event()
        self._departs = False

    def begin(self) -> None:
        """Begin a transaction with the next statement. Raises OperationalError if the connection has died while nobody used it."""
        if _has_something(self._libpq.socket):
            # A server that says something unasked says farewell.
            raise psycopg.OperationalError("the connection was closed by the server")
        self._tenant_id = None
        self._put(None, "BEGIN", ())

    def ask(self, tenant_id: TenantId | None, statement: str, arguments: Sequence[Any] = ()) -> Answer:
        """Have it leave with the next flight. Raises DataError if an argument is nothing that PostgreSQL could be given."""
        answer = self._put(tenant_id, statement, arguments)
        if self._flight is None:
            self._depart_soon()
        return answer

    async def enter(self, tenant_id: TenantId) -> None:
        """Be in the tenant, for whoever goes on without this wire."""
        await self.ask(tenant_id, _NOTHING)

    def commit(self) -> Answer:
        """Have it end with what is on its way; if that fails, so does this. The answer's tag is ROLLBACK if it had failed before."""
        return self.ask(None, "COMMIT")

    async def roll_back(self) -> None:
        """Undo the transaction, whatever is under way: that is cancelled first. Raises TimeoutError if it cannot be."""
        for _, _, _, answer in self._waiting:
            answer.cancel()
        self._waiting = []
        if self._flight is not None:
            with suppress(psycopg.OperationalError):
                await self._connection.cancel_safe(timeout=_CANCEL_MAX_S)
            async with asyncio.timeout(_CANCEL_MAX_S):
                await self._landed.wait()
        if self._libpq.transaction_status != TransactionStatus.IDLE:
            async with asyncio.timeout(_CANCEL_MAX_S):
                await self.ask(None, "ROLLBACK")

    def give_up(self) -> None:
        """Listen no longer: whoever closes the connection frees its socket's number for the next one."""
        if self._flight is not None:
            self._lost(psycopg.OperationalError("the connection was given up"))

    def rows(self, result: PGresult) -> list[Row]:
        """The result as Python values."""
        if not result.ntuples:
            return []
        self._values.set_pgresult(result, set_loaders=True, format=Format.BINARY)
        return self._values.load_rows(0, result.ntuples, row_class(tuple(result.fname(at) for at in range(result.nfields))))

    def _put(self, tenant_id: TenantId | None, statement: str, arguments: Sequence[Any]) -> Answer:
        answer: Answer = self._loop.create_future()
        prepared = self._prepared.get(statement)
        if prepared is None or prepared.encoders is None or len(prepared.encoders) != len(arguments):
            values = [encoded(one) for one in arguments]
        else:
            values = [encode(one) for encode, one in zip(prepared.encoders, arguments, strict=True)]
        self._waiting.append((tenant_id, statement, values, answer))
        return answer

    def _depart_soon(self) -> None:
        if not self._departs:
            self._departs = True
            self._loop.call_soon(self._depart)

    def _depart(self) -> None:
        self._departs = False
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self._flight, self._results = [], []
        self._landed.clear()
        try:
            self._libpq.enter_pipeline_mode()
            for tenant_id, statement, arguments, answer in waiting:
                if tenant_id is not None and tenant_id != self._tenant_id:
                    self._tenant_id = tenant_id
                    self._send(_ENTER, [(str(tenant_id).encode(), Format.TEXT)], None)
                self._send(statement, arguments, answer)
            self._libpq.pipeline_sync()
            self._socket = self._libpq.socket
            self._loop.add_reader(self._socket, self._read)
            self._watch = self._loop.call_later(_LOOK_AFTER_S, self._look_after)
            if self._libpq.flush():
                self._loop.add_writer(self._socket, self._write)
        except psycopg.Error as error:
            self._flight += [answer for _, _, _, answer in waiting if answer not in self._flight]
            self._lost(error)

    def _send(self, statement: str, arguments: _Arguments, answer: Answer | None) -> None:
        assert self._flight is not None
        prepared = self._prepared.get(statement)
        if prepared is None and len(self._prepared) < _PREPARED_MAX:
            self._number += 1
            prepared = self._prepared[statement] = _Prepared(b"oaas_%d" % self._number)
            self._libpq.send_prepare(prepared.name, statement.encode())
            self._libpq.send_describe_prepared(prepared.name)
            self._flight += [statement, statement]
        values, formats = [value for value, _ in arguments], [form for _, form in arguments]
        if prepared is None:
            self._libpq.send_query_params(statement.encode(), values, param_formats=formats, result_format=Format.BINARY)
        else:
            self._libpq.send_query_prepared(prepared.name, values, formats, Format.BINARY)
        self._flight.append(answer)

    def _write(self) -> None:
        try:
            if not self._libpq.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._lost(error)

    def _read(self) -> None:
        try:
            # Until nothing is left: of a connection that breaks, uvloop tells once, and there may still be answers before the end.
            while self._flight is not None:
                self._libpq.consume_input()
                self._take_results()
                if self._libpq.status != ConnStatus.OK:
                    raise psycopg.OperationalError("the connection is lost")
                if self._flight is None or not _has_something(self._socket):
                    return
        except psycopg.Error as error:
            self._lost(error)

    def _take_results(self) -> None:
        while not self._libpq.is_busy():
            result = self._libpq.get_result()
            # Each statement's result is followed by nothing; the flight's last is the sync.
            if result is None:
                if self._libpq.status != ConnStatus.OK:
                    return
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                self._land()
                return
            self._results.append(result)

    def _look_after(self) -> None:
        """Whatever the event loop may have missed: nobody else would ever end this flight."""
        if self._flight is not None:
            self._read()
        if self._flight is not None:
            self._watch = self._loop.call_later(_LOOK_AFTER_S, self._look_after)

    def _land(self) -> None:
        assert self._flight is not None
        if len(self._results) != len(self._flight):
            raise psycopg.OperationalError(f"the server gave {len(self._results)} answers to {len(self._flight)} questions")
        self._stop_listening()
        self._libpq.exit_pipeline_mode()
        flight, self._flight = self._flight, None
        failed: psycopg.Error | None = None
        for waits, result in zip(flight, self._results, strict=True):
            if failed is None and result.status in _FAILED:
                failed = error_from_result(result)
            if isinstance(waits, str):
                self._learn(waits, None if failed else result)
            elif waits is not None:
                _tell(waits, failed or result)
        if isinstance(failed, psycopg.errors.FeatureNotSupported):
            # A migration has changed a column's type, and what is prepared answers with the old one: all of it is prepared anew.
            self._prepared.clear()
        self._results = []
        self._landed.set()
        # Those who have been told ask on first; what was asked meanwhile leaves with it.
        if self._waiting:
            self._depart_soon()

    def _learn(self, statement: str, result: PGresult | None) -> None:
        if result is None:
            # What came after a failure was passed over: it is not prepared.
            self._prepared.pop(statement, None)
        elif result.nparams:
            self._prepared[statement].encoders = [encoder_of(result.param_type(at)) for at in range(result.nparams)]

    def _lost(self, error: psycopg.Error) -> None:
        """Nobody knows what became of the flight: the connection is of no use any more."""
        self._stop_listening()
        flight, self._flight = self._flight or [], None
        waiting, self._waiting = self._waiting, []
        for waits in (*flight, *(answer for _, _, _, answer in waiting)):
            if isinstance(waits, asyncio.Future):
                _tell(waits, error)
        self._landed.set()

    def _stop_listening(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        # By its number: libpq may have closed it already, and the next connection would be given the same.
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = -1


def _has_something(socket: int) -> bool:
    """Whether there is something to read, an end or an error included."""
    looked = select.poll()
    looked.register(socket, select.POLLIN)
    return bool(looked.poll(0))


def status_of(result: PGresult) -> str:
    """The command's tag, such as `UPDATE 3`."""
    return (result.command_status or b"").decode()


def _tell(waits: Answer, what: PGresult | psycopg.Error) -> None:
    # Whoever waited may have been cancelled meanwhile.
    if waits.done():
        return
    if isinstance(what, psycopg.Error):
        waits.set_exception(what)
        # Seen: in a flight that failed, not everybody comes back to hear of it.
        waits.exception()
    else:
        waits.set_result(what)
