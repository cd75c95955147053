"""Deny by default: every route of every service declares the scope it needs."""

from typing import Any, cast

import pytest
from fastapi.routing import APIRoute

from infra.http.auth import SCOPES, scopes_of
from infra.services import load
from infra.settings import Settings

SERVICES = load([])
SIGNED = {"/v1/payments/callbacks": "the payment provider has no token of ours; it signs what it says"}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_route_declares_a_scope(service: Any) -> None:
    routers = service.router(cast(Any, None), Settings()), service.operators_router(cast(Any, None), cast(Any, None), Settings())
    routes = [route for router in routers if router is not None for route in router.routes]
    assert routes
    for route in routes:
        assert isinstance(route, APIRoute)
        assert scopes_of(route.dependant) or route.path in SIGNED, f"{route.methods} {route.path} lets everybody in"
        assert scopes_of(route.dependant) <= set(SCOPES)
        assert route.path.startswith("/v1/")
