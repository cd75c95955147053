"""Turns whatever went wrong in a request into a Problem: the one ladder from exceptions to HTTP statuses."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from contracts.values import SKU_PATTERN, VISIBLE_ASCII
from infra.errors import Outage, Retryable
from infra.http.problems import FieldError, Problem, request_id_of, respond
from infra.retry import DRIVER_ERRORS, Ending, ending_of

_LOG: Final = logging.getLogger(__name__)
_RETRY_AFTER_S: Final = 2
_ERRORS_MAX: Final = 100
_FIELD_CHARACTERS_MAX: Final = 200

_TITLES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("Malformed request", "The request cannot be read: send a body of valid JSON"),
    404: ("Not found", "There is nothing at this address: /docs lists what there is"),
    405: ("Method not allowed", "This address does not take this method: the Allow header names those it takes"),
}

_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing: give a value",
    "extra_forbidden": "is not a field of this request: leave it out",
    "string_type": "must be text",
    "string_unicode": "must be text without half surrogate pairs",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",  # but for those in _PATTERNS
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "uuid_type": "must be a UUID such as 3f2b8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10",
    "uuid_parsing": "must be a UUID such as 3f2b8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10",
    "enum": "must be one of {expected}",
    "literal_error": "must be one of {expected}",
    "too_short": "must have at least {min_length} item(s)",
    "too_long": "must have at most {max_length} item(s)",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "timezone_aware": "must carry a zone: write UTC as 2026-11-23T09:00:00Z",
    "datetime_type": "must be a time such as 2026-11-23T09:00:00Z",
    "datetime_parsing": "must be a time such as 2026-11-23T09:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2026-11-23T09:00:00Z",
}


_PATTERNS: Final[Mapping[str, str]] = {
    SKU_PATTERN: "must be 1 to 64 letters, digits, dots, dashes and underscores, and begin with a letter or digit",
    VISIBLE_ASCII: "must be letters, digits and signs of ASCII, without spaces",
}


def field_path(location: Sequence[str | int]) -> str:
    """`("body", "lines", 0, "quantity")` as `lines[0].quantity`; the body as a whole is `body`."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return (path or str(location[0]) if location else "body")[:_FIELD_CHARACTERS_MAX]


def field_error(error: Mapping[str, Any]) -> FieldError:
    """One of pydantic's errors in plain words that say the fix."""
    said = str(error["msg"]).removeprefix("Value error, ")
    template = _PATTERNS.get(error.get("ctx", {}).get("pattern", "")) or _WORDS.get(error["type"])
    return FieldError(field=field_path(error["loc"]), message=template.format(**error.get("ctx", {})) if template else said)


def register(app: FastAPI) -> None:
    """Every exception that leaves a route of the application becomes a problem+json."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http)
    for unreachable in (Outage, Retryable, ConnectionError, PoolExhausted):
        app.add_exception_handler(unreachable, _unreachable)
    for database in (DBAPIError, *DRIVER_ERRORS):
        app.add_exception_handler(database, _database)
    app.add_exception_handler(Exception, _bug)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request, error)


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    in_body = any(each["loc"][:1] == ("body",) for each in found)
    if any(each["type"] == "json_invalid" for each in found):
        return respond(request, Problem(400, "Malformed JSON", "The body is not valid JSON: check its quotes, commas and brackets"))
    if in_body and not _is_json(request) and await request.body():
        return respond(request, Problem(415, "Not JSON", "Send the body as JSON, with the header Content-Type: application/json"))
    errors = [field_error(each) for each in found[:_ERRORS_MAX]]
    named = ", ".join(each["field"] for each in errors[:5]) + (" and others" if len(found) > 5 else "")
    return respond(request, Problem(422, "Not valid", f"Wrong: {named}", errors=errors))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title, detail = _TITLES.get(error.status_code, ("Not possible", str(error.detail)))
    headers = {"Allow": ", ".join(_methods_of(request))} if error.status_code == 405 else error.headers
    return respond(request, Problem(error.status_code, title, detail, headers=headers))


def _methods_of(request: Request) -> list[str]:
    """Every method that some route takes at this address; the framework names those of the first route only."""
    paths = request.app.openapi()["paths"].items()
    here = [methods for template, methods in paths if compile_path(template)[0].match(request.url.path)]
    return sorted({method.upper() for methods in here for method in methods})


async def _unreachable(request: Request, error: Exception) -> Response:
    _LOG.warning("503: %s", type(error).__name__, extra={"request_id": request_id_of(request.scope)})
    detail = f"A server that is needed does not answer; nothing is lost: try again in {_RETRY_AFTER_S} s"
    return respond(request, Problem(503, "Not available", detail, headers={"Retry-After": str(_RETRY_AFTER_S)}))


async def _database(request: Request, error: Exception) -> Response:
    if ending_of(error) is not Ending.BUG:
        return await _unreachable(request, error)
    # Neither the client's fault nor an outage. Raised again it reaches `_bug`, and the server's log with its traceback.
    raise error


async def _bug(request: Request, error: Exception) -> Response:
    request_id = request_id_of(request.scope)
    _LOG.error("500: %s", type(error).__name__, exc_info=error, extra={"request_id": request_id})
    detail = f"This is a fault of ours: report it with the id {request_id}"
    return respond(request, Problem(500, "Internal error", detail))


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
