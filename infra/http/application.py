"""The application that serves one service's router or all of them: problems, body limits, health, metrics, OpenAPI.

Routers bring their whole paths (`/v1/orders`) and their dependencies (infra/http/auth.py). Routes raise `Problem`; whatever else leaves
them becomes a problem+json in infra/http/mishaps.py.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from prometheus_client import REGISTRY, CollectorRegistry
from pydantic import AfterValidator, AwareDatetime

from infra.http.auth import Verifier
from infra.http.bodies import Gate
from infra.http.direct import DirectWays
from infra.http.health import Check, health_router
from infra.http.mishaps import register
from infra.http.problems import PROBLEM_RESPONSES, ProblemDocument
from infra.http.tracing import Traced


def _as_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time of the years 1 to 9999 in UTC") from None


Timestamp = Annotated[AwareDatetime, AfterValidator(_as_utc)]
"""A time in a request or response: ISO 8601 with its zone required, written as UTC with a Z."""

_NOT_TWICE: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False}
"""infra/http/tracing.py traces, and `/metrics` counts."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    title: str,
    routers: Mapping[str, APIRouter],
    *,
    verifier: Verifier,
    checks: Sequence[Check] = (),
    body_bytes_max: int = 1_048_576,
    registry: CollectorRegistry = REGISTRY,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """The application of these services, `routers` by service name. `lifespan` opens and closes what the routers need."""
    app = _Application(
        title=title, version="1", lifespan=lifespan or _nothing_to_open, redoc_url=None, redirect_slashes=False, telemetry=_NOT_TWICE
    )
    app.state.verifier = verifier
    register(app)
    app.include_router(health_router(checks, registry))
    for name, router in routers.items():
        app.include_router(router, tags=None if router.tags else [name], responses=PROBLEM_RESPONSES)
    # Inside what turns exceptions into problems, as every route.
    app.router.middleware_stack = DirectWays(app.router.middleware_stack, list(routers.values()))
    app.add_middleware(Gate, body_bytes_max=body_bytes_max)
    app.add_middleware(Traced)
    return app


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """As FastAPI writes it, with the one body that all problems have."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"))
            schemas["Problem"] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        return super().openapi()


@asynccontextmanager
async def _nothing_to_open(_: FastAPI) -> AsyncIterator[None]:
    yield
