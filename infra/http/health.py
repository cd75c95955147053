"""Is this process alive, and can it serve? `/health/live`, `/health/ready`, `/metrics`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from infra.errors import Outage, Retryable

CHECK_MAX_S: Final = 2.0
"""Longest that one readiness check may take, seconds; slower is not ready."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that this process needs. `run` returns what is wrong with it in words, or None when it is well."""

    name: str
    run: Callable[[], Awaitable[str | None]]


def health_router(checks: Sequence[Check], registry: CollectorRegistry) -> APIRouter:
    """The routes that need no token."""
    router = APIRouter(tags=["health"])

    @router.head("/health/live", include_in_schema=False)
    @router.get("/health/live", summary="The process runs")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.head("/health/ready", include_in_schema=False)
    @router.get("/health/ready", summary="The process can serve", responses={503: {"description": "Not ready; `checks` says why"}})
    async def ready() -> JSONResponse:
        wrong = await asyncio.gather(*(_run(check) for check in checks))
        told = {
            check.name: {"ok": said is None, **({} if said is None else {"detail": said})}
            for check, said in zip(checks, wrong, strict=True)
        }
        is_ready = not any(wrong)
        body: dict[str, Any] = {"status": "ready" if is_ready else "not ready", "checks": told}
        return JSONResponse(body, 200 if is_ready else 503, {"Cache-Control": "no-store"})

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


async def _run(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_MAX_S):
            return await check.run()
    except TimeoutError:
        return f"no answer within {CHECK_MAX_S:g} s"
    except (Outage, Retryable, OSError, SQLAlchemyError) as error:
        # The error's class, not its text: that may carry an address or a statement, and nobody needs a token to read this.
        return f"cannot be reached ({type(error).__name__})"
