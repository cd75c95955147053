"""What a request must be before anything reads it: no larger than allowed, and of text that PostgreSQL can store."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.http.problems import FieldError, Problem, request_id_of, respond

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_ERRORS_MAX: Final = 100
_FIELD_CHARACTERS_MAX: Final = 200
_SUSPICIOUS: Final = re.compile(rb"\x00|\xed[\xa0-\xbf]|\\u0000|\\u[dD][89a-fA-F]")
"""Cheap to look for; only a body that has one is parsed twice."""


class Gate:
    """Reads the body, at most `body_bytes_max` of it, and turns away what cannot be served before the application sees it."""

    def __init__(self, app: ASGIApp, body_bytes_max: int) -> None:
        self._app = app
        self._body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        request_id_of(scope)  # Settled here, inside the request's span, for whoever answers or logs.
        try:
            body = await self._read(scope, receive)
            _refuse_unstorable(scope, body)
        except Problem as problem:
            await respond(Request(scope), problem)(scope, receive, send)
            return
        await self._app(scope, replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and int(announced[:20]) > self._body_bytes_max:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._body_bytes_max:
                raise self._too_large()
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_large(self) -> Problem:
        detail = f"The body may have at most {self._body_bytes_max} bytes: send less at once"
        return Problem(413, "Body too large", detail, headers={"Connection": "close"})


def replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, for whoever comes next; then what `receive` brings."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _refuse_unstorable(scope: Scope, body: bytes) -> None:
    # The client names the fields, so neither their number nor their length may decide how long the answer gets.
    wrong = list(islice(_unstorable(scope, body), _ERRORS_MAX))
    if wrong:
        errors = [FieldError(field=field, message="has a NUL or half a surrogate pair, which is no text: leave it out") for field in wrong]
        raise Problem(422, "Not valid", "The request has characters that cannot be stored", errors=errors)


def _unstorable(scope: Scope, body: bytes) -> Iterator[str]:
    if _UNSTORABLE.search(scope["path"]):
        yield "path"
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if _UNSTORABLE.search(name + value):
            yield _UNSTORABLE.sub("?", name)[:_FIELD_CHARACTERS_MAX]
    if _SUSPICIOUS.search(body):
        try:
            yield from _unstorable_in(json.loads(body), "")
        except (ValueError, RecursionError):
            return  # No JSON: whoever reads the body says so.


def _unstorable_in(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            yield path or "body"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unstorable_in(item, f"{path}[{index}]"[:_FIELD_CHARACTERS_MAX])
    elif isinstance(value, dict):
        for name, item in value.items():
            clean = _UNSTORABLE.sub("?", name)
            below = (f"{path}.{clean}" if path else clean)[:_FIELD_CHARACTERS_MAX]
            if clean != name:
                yield below
            yield from _unstorable_in(item, below)
