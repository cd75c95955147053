"""A way around the framework for the one request that everybody waits for: what is as it should be takes it.

The framework looks at every route, every dependency and every field in general terms, which costs several times what serving an
order does. A direct way serves the same operation. Whatever is unusual about a request (no token or a bad one, a wrong field,
another content type) is none of its business: the framework then reads the same request from its beginning, and says what is
wrong. So nothing is refused here, and the two ways cannot differ in what they refuse.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.http.auth import Caller, known_caller
from infra.http.bodies import replay
from infra.http.verifier import Verifier

_JSON: Final = b"application/json"
_ATTRIBUTE: Final = "__direct__"

Headers = Mapping[bytes, bytes]
Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Direct(Generic[Body]):
    """How what is as it should be is served. `headers`: those that it understands, and that are unusual if they come twice."""

    body: type[Body]
    scope: str
    headers: Sequence[bytes]
    unknown: Sequence[bytes]
    """Headers that it does not understand, and that mean something to the operation."""
    serve: Callable[[Request, Caller, Body, Headers], Awaitable[Response | None]]
    """None: the request is unusual after all; nothing has been done for it."""

    async def answer(self, request: Request, verifier: Verifier) -> Response | None:
        """The response; None if the request has to take the long way."""
        headers = self._headers(request)
        if headers is None or headers.get(b"content-type") != _JSON:
            return None
        caller = await known_caller(verifier, headers.get(b"authorization", b""), self.scope)
        if caller is None:
            return None
        try:
            body = self.body.model_validate(json.loads(await request.body()))
        except (ValueError, RecursionError):
            return None
        return await self.serve(request, caller, body, headers)

    def _headers(self, request: Request) -> Headers | None:
        found: dict[bytes, bytes] = {}
        for name, value in request.scope["headers"]:
            if name in found or name in self.unknown:
                return None
            if name in self.headers or name in (b"content-type", b"authorization"):
                found[name] = value
        return found


def directly(endpoint: Callable[..., Any], direct: Direct[Any]) -> None:
    """Have what is as it should be served directly, where this endpoint is that of a route without parameters in its path."""
    setattr(endpoint, _ATTRIBUTE, direct)


class DirectWays:
    """Stands before the router: what a route of these routers serves directly does not come to it."""

    def __init__(self, app: ASGIApp, routers: Sequence[APIRouter]) -> None:
        self._app = app
        routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self._ways = {
            (method, route.path): (route, getattr(route.endpoint, _ATTRIBUTE))
            for route in routes
            if hasattr(route.endpoint, _ATTRIBUTE)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        way = self._ways.get((scope.get("method", ""), scope.get("path", "")))
        if way is None:
            await self._app(scope, receive, send)
            return
        route, direct = way
        request = Request(scope, receive)
        response = await direct.answer(request, scope["app"].state.verifier)
        if response is None:
            await self._app(scope, replay(await request.body(), receive), send)
        else:
            scope["route"] = route
            await response(scope, receive, send)
