"""`GET /v1/security`: whether tenants are kept apart in the databases that this process works on; and the same as a readiness check."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from infra.http.auth import Operator, operator_with
from infra.http.health import Check
from infra.rls.posture import Posture, Postures, WorkingRole

Ops = Annotated[Operator, Depends(operator_with("ops"))]
_REASONS_TOLD: Final = 3
"""Most reasons that readiness names; `GET /v1/security` has them all."""


class Verdict(StrEnum):
    """Whether tenants are kept apart."""

    SECURE = "SECURE"
    INSECURE = "INSECURE"


class RoleView(BaseModel):
    """A database role that this process signs in as."""

    name: str
    is_superuser: bool
    bypasses_rls: bool = Field(description="it has BYPASSRLS: no policy holds for it")
    owns_tables: bool = Field(description="it owns tables of the schema, or may become their owner")

    @classmethod
    def of(cls, role: WorkingRole) -> "RoleView":
        return cls(name=role.name, is_superuser=role.is_superuser, bypasses_rls=role.bypasses, owns_tables=role.owns)


class ReasonView(BaseModel):
    """Why a service is not secure."""

    what: str
    mend: str = Field(description="the SQL, or the command, that mends it")


class ServiceView(BaseModel):
    """How one service stands."""

    service: str
    verdict: Verdict
    reasons: list[ReasonView] = Field(description="why it is INSECURE; empty if it is SECURE")
    database_role: RoleView = Field(description="the one in use for whatever happens inside a tenant")
    other_roles: list[RoleView] = Field(description="those in use across tenants, on keys and times only")
    tables_with_rls: int = Field(description="tables under row-level security that is forced on their owner too")
    tables_without_rls: list[str]

    @classmethod
    def of(cls, posture: Posture) -> "ServiceView":
        return cls(
            service=posture.service,
            verdict=Verdict.SECURE if posture.is_secure else Verdict.INSECURE,
            reasons=[ReasonView(what=reason.what, mend=reason.mend) for reason in posture.reasons],
            database_role=RoleView.of(posture.role),
            other_roles=[RoleView.of(role) for role in posture.others],
            tables_with_rls=len(posture.protected),
            tables_without_rls=list(posture.unprotected),
        )


class SecurityView(BaseModel):
    """INSECURE if any service is."""

    verdict: Verdict
    services: list[ServiceView]


def security_router(postures: Sequence[Postures]) -> APIRouter:
    """The route, for the services that this process serves."""
    routes = APIRouter(prefix="/v1", tags=["operators"])

    @routes.get("/security", summary="Whether tenants are kept apart in the database")
    async def security(_: Ops) -> SecurityView:
        """Looked at now, in each service's database, as the role that serves it. `oaas check rls` looks closer."""
        services = [ServiceView.of(posture) for posture in await asyncio.gather(*(one.now() for one in postures))]
        is_secure = all(service.verdict is Verdict.SECURE for service in services)
        return SecurityView(verdict=Verdict.SECURE if is_secure else Verdict.INSECURE, services=services)

    return routes


def security_check(postures: Postures) -> Check:
    """Whoever may let tenants meet serves nobody; it is ready again some seconds after it has been mended."""

    async def run() -> str | None:
        reasons = (await postures.of_late()).reasons
        if not reasons:
            return None
        told = "; ".join(reason.what for reason in reasons[:_REASONS_TOLD])
        more = f"; and {len(reasons) - _REASONS_TOLD} more" if len(reasons) > _REASONS_TOLD else ""
        return f"{Verdict.INSECURE}: {told}{more}. GET /v1/security says what mends it"

    return Check(f"{postures.service} security", run)
