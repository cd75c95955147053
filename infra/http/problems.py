"""Every error of every API, as RFC 9457 `application/problem+json`. Nothing of the inside gets out: no traceback, no SQL, no input."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict
from uuid import uuid4

from fastapi.responses import Response
from opentelemetry import trace
from pydantic import BaseModel, Field
from starlette.requests import Request

MEDIA_TYPE: Final = "application/problem+json"

_NOT_A_TITLE_LETTER: Final = re.compile(r"[^a-z0-9]+")


class FieldError(TypedDict):
    """One wrong field: its path in the request (`lines[1].sku`), and what is wrong with it and how to mend it."""

    field: str
    message: str


class Problem(Exception):
    """A request that cannot be served, as the client is told. Raise it at the HTTP edge only."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


class WrongField(BaseModel):
    """As FieldError, for the OpenAPI document."""

    field: str = Field(description="path in the request, such as lines[1].sku", examples=["lines[0].quantity"])
    message: str = Field(description="what is wrong and how to mend it", examples=["must be at least 1"])


class ProblemDocument(BaseModel):
    """The body of every error, for the OpenAPI document (RFC 9457)."""

    type: str = Field(description="names the kind of problem, stable", examples=["urn:oaas:problem:not-valid"])
    title: str = Field(description="the kind of problem, in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is wrong with this request and how to mend it")
    instance: str = Field(description="the path that was asked for")
    request_id: str = Field(description="finds this request in the logs and traces")
    errors: list[WrongField] | None = Field(default=None, description="every wrong field, when fields are wrong")


def request_id_of(scope: Mapping[str, Any]) -> str:
    """What finds this request again: the trace's id if it is traced, else a random one that stays the same for the request."""
    span = trace.get_current_span().get_span_context()
    state = scope.get("state")
    if state is None or "request_id" not in state:
        found = format(span.trace_id, "032x") if span.is_valid else uuid4().hex
        if state is None:
            return found
        state["request_id"] = found
    return str(state["request_id"])


def respond(request: Request, problem: Problem) -> Response:
    """The problem as a response, with the id of the request in its body and its `X-Request-Id` header."""
    request_id = request_id_of(request.scope)
    body: dict[str, Any] = {
        "type": f"urn:oaas:problem:{_NOT_A_TITLE_LETTER.sub('-', problem.title.lower()).strip('-')}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.url.path,
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = problem.errors
    # ASCII only: a field named by a lone surrogate has no UTF-8, and must not turn its 422 into a 500.
    content = json.dumps(body, ensure_ascii=True).encode("ascii")
    return Response(content, problem.status, {**problem.headers, "X-Request-Id": request_id}, MEDIA_TYPE)


def _documented(description: str) -> dict[str, Any]:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: _documented("The request cannot be read: malformed JSON, a missing header, a cursor that was not given out here"),
    401: _documented("No token, or one that is not valid"),
    403: _documented("The token lacks the scope or the tenant"),
    404: _documented("There is no such thing, or it is another tenant's"),
    409: _documented("Not possible in the present state"),
    413: _documented("The body is too large"),
    415: _documented("The body is not JSON"),
    422: _documented("Fields are wrong; `errors` names each of them"),
    429: _documented("Too much of this tenant's is under way; try again after `Retry-After` seconds"),
    500: _documented("A bug; `request_id` finds it in the logs"),
    503: _documented("A server that is needed cannot be reached, or too much is under way; try again after `Retry-After` seconds"),
}
"""Documents the problems of a router's operations: `include_router(..., responses=PROBLEM_RESPONSES)`."""
