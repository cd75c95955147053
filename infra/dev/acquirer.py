"""A payment provider for development and tests: an HTTP process of its own that holds, takes and gives back money that does not exist.

    python -m infra.dev.acquirer HOST PORT BOOKS CALLBACK_URL        signs its callbacks with OAAS_PAYMENT_SECRET

    POST /operations              header Idempotency-Key; {operation, payment, amount, token, reference, metadata}
    GET  /operations?key=KEY      what came of it; 404 if it never came
    GET  /payments/REFERENCE      one payment
    GET  /ledger[?payment=ID]     what was held, taken and given back, repetitions by key, and violations

The token chooses how it behaves; a number at its end says how often, or for how many seconds:

    tok_ok  tok_refused (insufficient_funds)  tok_slow[_S]  tok_late[_S], tok_late_refused (202, and a callback later)  tok_pending_forever
    tok_charge_then_timeout (does it, and does not answer)  tok_reset (does it, and breaks the connection)  tok_down[_N] (503, N times)
    tok_capture_refused[_N], tok_void_refused[_N], tok_refund_refused[_N] (try_again_later, N times, each under a key of its own)

Slowness, timeouts, resets and 503s befall the first calls of each operation on the payment, not only its authorisation.
"""

import hashlib
import hmac
import http.client
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from infra.clock import now
from infra.dev.acquirer_books import Books, Order

SLOW_S: Final = 2.0
LATE_S: Final = 0.5
DOWN_TIMES: Final = 3
REFUSED_TIMES: Final = 3
HOLD_S: Final = 60.0
"""How long a connection is held that will get no answer."""
_LOOK_EVERY_S: Final = 0.05
_CALLBACK_TIMEOUT_S: Final = 5.0
_BODY_BYTES_MAX: Final = 100_000
_TOKEN: Final = re.compile(r"tok_([a-z_]*[a-z])(?:_([0-9.]+))?")


class Acquirer(ThreadingHTTPServer):
    """The server, around its books."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], books: Books) -> None:
        super().__init__(address, Desk)
        self.books = books

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has not waited for its answer is no error of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Desk(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Header and body leave in two writes; together with delayed acknowledgements that would cost 40 ms.
    disable_nagle_algorithm = True
    server: Acquirer

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(where.query).items()}
        books = self.server.books
        books.decide_due(now())
        if where.path == "/ledger":
            self._answer(HTTPStatus.OK, books.ledger(query.get("payment")))
        elif where.path == "/operations":
            self._answer_if_known(books.known(query.get("key", "")))
        else:
            self._answer_if_known(books.payment(where.path.removeprefix("/payments/")))

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _BODY_BYTES_MAX))
        order = _order(self.headers.get("Idempotency-Key", ""), body) if self.path == "/operations" else None
        if order is None:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "no operation with an Idempotency-Key"})
            return
        books = self.server.books
        if (known := books.known(order.key, again=True)) is not None:
            self._answer_outcome(known)
            return
        manner, number = _manner(order.token or books.token_of(order.reference))
        if manner == "down" and books.fails(order.key, int(number or DOWN_TIMES)):
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "down"})
            return
        if manner == "slow":
            time.sleep(number or SLOW_S)
        if order.operation == "authorise":
            _authorise(books, order, manner, number)
        else:
            refuses = manner == f"{order.operation}_refused"
            books.move(order, refusals=int(number or REFUSED_TIMES) if refuses else 0)
        self._leave(manner) if manner in ("charge_then_timeout", "reset") else self._answer_outcome(books.known(order.key) or {})

    def _leave(self, manner: str) -> None:
        """Give no answer to what was done."""
        self.close_connection = True
        if manner == "reset":
            # Closing without lingering sends a reset, as a machine that goes down does.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            time.sleep(HOLD_S)

    def _answer_outcome(self, outcome: dict[str, Any]) -> None:
        self._answer(HTTPStatus.ACCEPTED if outcome["status"] == "pending" else HTTPStatus.OK, outcome)

    def _answer_if_known(self, found: dict[str, Any] | None) -> None:
        self._answer(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND, found or {"error": "not known"})

    def _answer(self, status: HTTPStatus, told: dict[str, Any]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is logged: the books say it all."""


def _order(key: str, body: bytes) -> Order | None:
    try:
        told = json.loads(body)
        named = {name: str(told.get(name) or "") for name in ("operation", "payment", "token", "reference")}
        order = Order(key=key, amount=int(told["amount"]), metadata=dict(told.get("metadata") or {}), **named)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return order if key and order.operation in ("authorise", "capture", "void", "refund") else None


def _manner(token: str) -> tuple[str, float | None]:
    found = _TOKEN.fullmatch(token)
    return (found[1], float(found[2]) if found[2] else None) if found else ("invalid", None)


def _authorise(books: Books, order: Order, manner: str, number: float | None) -> None:
    refusal = "insufficient_funds" if manner in ("refused", "late_refused") else "invalid_token" if manner == "invalid" else None
    if manner == "pending_forever":
        books.authorise(order, pending=True)
    elif manner.startswith("late"):
        books.authorise(order, refusal=refusal, pending=True, decide_at=now() + timedelta(seconds=number or LATE_S))
    else:
        books.authorise(order, refusal=refusal)


def _tell(books: Books, url: str, secret: str) -> None:
    """Decide what is pending and call back, for ever."""
    while True:
        books.decide_due(now())
        for one in books.untold(now()):
            if _called_back(url, secret, json.dumps(one).encode()):
                books.told(one["reference"])
        time.sleep(_LOOK_EVERY_S)


def _called_back(url: str, secret: str, body: bytes) -> bool:
    where, seconds = urlsplit(url), int(now().timestamp())
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "Signature": f"t={seconds},v1={digest}"}
    # Not urllib: it would ask a proxy that the environment names.
    connection = http.client.HTTPConnection(where.netloc, timeout=_CALLBACK_TIMEOUT_S)
    try:
        connection.request("POST", where.path, body, headers)
        return connection.getresponse().status < HTTPStatus.BAD_REQUEST
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(host: str, port: str, file: str, callback_url: str) -> None:
    """Serve until killed; what was answered is in the books."""
    books = Books(Path(file))
    with Acquirer((host, int(port)), books) as server:
        threading.Thread(target=_tell, args=(books, callback_url, os.environ.get("OAAS_PAYMENT_SECRET", "")), daemon=True).start()
        if ready := os.environ.get("OAAS_READY_FILE"):
            Path(ready).write_text("ready\n")
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
