"""Who is calling, and may they. Every route declares the scope it needs with one of three dependencies; a test finds those that do not.

    caller: Annotated[Caller, Depends(caller_with("orders:read"))]                    works in the caller's tenant
    administrator: Annotated[Administrator, Depends(administrator_with("tenants:admin"))]   needs no tenant
    operator: Annotated[Operator, Depends(operator_with("ops"))]            works in all tenants, or in its own if its token has one

401: no token, or not a valid one. 403: a valid token that lacks the scope or the tenant.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from contracts.values import TenantId
from infra.clock import now
from infra.http.problems import Problem
from infra.http.verifier import Claims, InvalidToken, Verifier

__all__ = [
    "SCOPES",
    "Administrator",
    "Caller",
    "Operator",
    "Verifier",
    "administrator_with",
    "caller_with",
    "known_caller",
    "operator_with",
    "scopes_of",
]

SCOPES: Final = ("orders:read", "orders:write", "catalog:read", "catalog:write", "tenants:admin", "ops")
"""Every scope there is."""

_REQUIRED: Final = "__required_scopes__"
_SCHEME: Final = b"Bearer "
_BEARER: Final = HTTPBearer(auto_error=False, scheme_name="bearer", bearerFormat="JWT", description="A JWT of the configured issuer")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who acts inside one tenant."""

    subject: str
    tenant_id: TenantId
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Administrator:
    """Somebody who acts on the platform, in no tenant."""

    subject: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who looks after what goes wrong: in one tenant, or without one in all of them."""

    subject: str
    tenant_id: TenantId | None
    scopes: frozenset[str]

    def tenant_for(self, asked: TenantId | None) -> TenantId | None:
        """The one tenant to look in, None for all; raises Problem(403) if a tenant's operator asks for another's."""
        if self.tenant_id is not None and asked not in (None, self.tenant_id):
            raise Problem(403, "Another tenant", "The token is a tenant's: it sees and acts on what is that tenant's only")
        return self.tenant_id or asked

    def may_see(self, tenant_id: TenantId) -> bool:
        """Whether what is this tenant's exists for the operator at all."""
        return self.tenant_id in (None, tenant_id)


def caller_with(scope: str, *more: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency that gives the Caller if its token has any of these scopes and a tenant."""
    wanted = _known(scope, *more)

    async def caller(request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER, scopes=wanted)]) -> Caller:
        claims = await _claims(request, bearer, wanted)
        if claims.tenant_id is None:
            raise Problem(403, "No tenant", "The token has no tenant_id claim: get a token for the tenant you work in")
        return Caller(claims.subject, claims.tenant_id, claims.scopes)

    setattr(caller, _REQUIRED, frozenset(wanted))
    return caller


async def known_caller(verifier: Verifier, authorization: bytes, scope: str) -> Caller | None:
    """Who `caller_with(scope)` would give for this header; None where it would refuse, or might."""
    if not authorization.startswith(_SCHEME):
        return None
    try:
        claims = await verifier.verify(authorization[len(_SCHEME) :].decode("latin-1"), now())
    except InvalidToken:
        return None
    if claims.tenant_id is None or scope not in claims.scopes:
        return None
    return Caller(claims.subject, claims.tenant_id, claims.scopes)


def administrator_with(scope: str) -> Callable[..., Awaitable[Administrator]]:
    """A dependency that gives the Administrator if its token has the scope; a tenant is not needed and not looked at."""
    wanted = _known(scope)

    async def administrator(
        request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER, scopes=wanted)]
    ) -> Administrator:
        claims = await _claims(request, bearer, wanted)
        return Administrator(claims.subject, claims.scopes)

    setattr(administrator, _REQUIRED, frozenset(wanted))
    return administrator


def operator_with(scope: str) -> Callable[..., Awaitable[Operator]]:
    """A dependency that gives the Operator if its token has the scope. A token's tenant bounds what it sees; every route has to obey it."""
    wanted = _known(scope)

    async def operator(
        request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER, scopes=wanted)]
    ) -> Operator:
        claims = await _claims(request, bearer, wanted)
        return Operator(claims.subject, claims.tenant_id, claims.scopes)

    setattr(operator, _REQUIRED, frozenset(wanted))
    return operator


def scopes_of(dependant: Dependant) -> frozenset[str]:
    """The scopes that a route (its `dependant`) declares; empty if it lets everybody in."""
    own: frozenset[str] = getattr(dependant.call, _REQUIRED, frozenset())
    return own.union(*(scopes_of(below) for below in dependant.dependencies))


def _known(*scopes: str) -> list[str]:
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise ValueError(f"unknown scope {', '.join(unknown)}: the scopes are {' '.join(SCOPES)}")
    return list(scopes)


async def _claims(request: Request, bearer: HTTPAuthorizationCredentials | None, wanted: list[str]) -> Claims:
    if bearer is None:
        challenge = {"WWW-Authenticate": 'Bearer realm="oaas"'}
        raise Problem(401, "No token", "Send the header Authorization: Bearer <token>", headers=challenge)
    verifier: Verifier = _verifier(request.app.state)
    try:
        claims = await verifier.verify(bearer.credentials, now())
    except InvalidToken as error:
        challenge = {"WWW-Authenticate": f'Bearer realm="oaas", error="invalid_token", error_description="{error}"'}
        raise Problem(401, "Invalid token", f"The token is not valid: {error}", headers=challenge) from None
    if claims.scopes.isdisjoint(wanted):
        needed = " or ".join(wanted)
        challenge = {"WWW-Authenticate": f'Bearer realm="oaas", error="insufficient_scope", scope="{" ".join(wanted)}"'}
        raise Problem(403, "Missing scope", f"The token lacks the scope {needed}", headers=challenge)
    return claims


def _verifier(state: Any) -> Verifier:
    verifier = state.verifier
    assert isinstance(verifier, Verifier)
    return verifier
