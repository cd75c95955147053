"""`GET /v1/security` and readiness: a process whose database would let tenants meet says so, and serves nobody."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest
from prometheus_client import CollectorRegistry

from contracts.values import TenantId
from infra.clock import now
from infra.database import open_pool
from infra.http import create_app
from infra.http.auth import scopes_of
from infra.http.security import security_check, security_router
from infra.http.verifier import Verifier
from infra.identifiers import uuid7
from infra.rls import posture
from infra.rls.posture import Postures
from infra.settings import Settings
from infra.token import ensure_development_key, issue

SERVICES: Final = ("inventory", "orders")
SHOP: Final = "inventory.shop"
RLS: Final = "ROW LEVEL SECURITY"


@dataclass
class Edge:
    """The route and readiness of a process with two services."""

    client: httpx.AsyncClient
    postures: list[Postures]
    home: Path
    settings: Settings

    async def security(self, scope: str = "ops", tenant_id: TenantId | None = None) -> httpx.Response:
        names = {"issuer": self.settings.issuer, "audience": self.settings.audience}
        bearer = issue(self.home, now(), tenant_id=tenant_id, scopes=[scope], lifetime=timedelta(hours=1), **names)
        return await self.client.get("/v1/security", headers={"Authorization": f"Bearer {bearer}"})

    async def inventory(self) -> dict[str, Any]:
        answered = await self.security()
        assert answered.status_code == 200, answered.text
        [service] = [one for one in answered.json()["services"] if one["service"] == "inventory"]
        found: dict[str, Any] = service
        return found

    async def readiness(self) -> tuple[int, str]:
        """The status, and what is said of inventory."""
        answered = await self.client.get("/health/ready")
        return answered.status_code, answered.json()["checks"]["inventory security"].get("detail", "")


@pytest.fixture(scope="module")
async def opened_edge(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    home = tmp_path_factory.mktemp("home")
    pools = {service: open_pool(settings, service, "app", 2) for service in SERVICES}
    postures = [Postures(service, pool) for service, pool in pools.items()]
    verifier = Verifier(str(ensure_development_key(home)), settings.issuer, settings.audience)
    routers, checks = {"security": security_router(postures)}, [security_check(one) for one in postures]
    app = create_app("test", routers, verifier=verifier, checks=checks, registry=CollectorRegistry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield Edge(client, postures, home, settings)
    for pool in pools.values():
        await pool.dispose()


@pytest.fixture
def edge(opened_edge: Edge, monkeypatch: pytest.MonkeyPatch) -> Edge:
    """It looks anew whenever it is asked."""
    monkeypatch.setattr(posture, "_FRESH_S", 0.0)
    return opened_edge


async def test_a_platform_as_it_is_migrated_is_secure_and_ready(edge: Edge, administrator: asyncpg.Connection) -> None:
    tables = await administrator.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'inventory'")
    answered = (await edge.security()).json()
    assert (answered["verdict"], [one["service"] for one in answered["services"]]) == ("SECURE", list(SERVICES))
    assert await edge.inventory() == {
        "service": "inventory",
        "verdict": "SECURE",
        "reasons": [],
        "database_role": role("inventory_app"),
        "other_roles": [role("inventory_relay"), role("inventory_sweeper")],
        "tables_with_rls": tables,
        "tables_without_rls": [],
    }
    assert await edge.readiness() == (200, "")


@pytest.mark.parametrize(
    ("change", "undo", "what"),
    [
        ("ALTER ROLE inventory_app BYPASSRLS", "ALTER ROLE inventory_app NOBYPASSRLS", "role inventory_app has BYPASSRLS"),
        ("ALTER ROLE inventory_app SUPERUSER", "ALTER ROLE inventory_app NOSUPERUSER", "role inventory_app is a superuser"),
        ("ALTER ROLE inventory_sweeper BYPASSRLS", "ALTER ROLE inventory_sweeper NOBYPASSRLS", "role inventory_sweeper has BYPASSRLS"),
        (f"ALTER TABLE {SHOP} NO FORCE {RLS}", f"ALTER TABLE {SHOP} FORCE {RLS}", f"table {SHOP} is not under forced row-level security"),
        (f"ALTER TABLE {SHOP} DISABLE {RLS}", f"ALTER TABLE {SHOP} ENABLE {RLS}", f"table {SHOP} is not under forced row-level security"),
        ("GRANT inventory_owner TO inventory_app", "REVOKE inventory_owner FROM inventory_app", "role inventory_app owns tables"),
    ],
)
async def test_what_would_let_tenants_meet_is_insecure_and_not_ready_until_it_is_mended(
    edge: Edge, administrator: asyncpg.Connection, change: str, undo: str, what: str
) -> None:
    await administrator.execute(change)
    try:
        inventory, (status, said) = await edge.inventory(), await edge.readiness()
        [reason] = inventory["reasons"]
        assert (inventory["verdict"], reason["what"].startswith(what)) == ("INSECURE", True), inventory
        assert (await edge.security()).json()["verdict"] == "INSECURE"
        assert (status, said.startswith(f"INSECURE: {what}")) == (503, True), said
        # What mends it is SQL, or a command that says more.
        await administrator.execute(undo if reason["mend"].startswith("oaas ") else reason["mend"])
        assert (await edge.inventory())["verdict"] == "SECURE"
        assert await edge.readiness() == (200, "")
    finally:
        await administrator.execute(undo)


async def test_every_table_is_named_to_operators_and_the_first_few_to_the_prober(edge: Edge, administrator: asyncpg.Connection) -> None:
    await administrator.execute(switched("NO FORCE"))
    try:
        inventory, (status, said) = await edge.inventory(), await edge.readiness()
    finally:
        await administrator.execute(switched("FORCE"))
    assert (inventory["tables_with_rls"], len(inventory["tables_without_rls"])) == (0, len(inventory["reasons"]))
    assert (status, f"; and {len(inventory['reasons']) - 3} more." in said) == (503, True), said


async def test_readiness_remembers_for_some_seconds_and_the_route_looks_each_time(
    opened_edge: Edge, administrator: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = opened_edge.postures[0]
    monkeypatch.setattr(inventory, "_last", None)
    assert len({id(one) for one in await asyncio.gather(*(inventory.of_late() for _ in range(20)))}) == 1
    await administrator.execute(f"ALTER TABLE {SHOP} NO FORCE ROW LEVEL SECURITY")
    try:
        assert await opened_edge.readiness() == (200, "")
        assert (await opened_edge.inventory())["verdict"] == "INSECURE"
    finally:
        await administrator.execute(f"ALTER TABLE {SHOP} FORCE ROW LEVEL SECURITY")


async def test_only_operators_may_ask(edge: Edge) -> None:
    assert (await edge.client.get("/v1/security")).status_code == 401
    assert (await edge.security("tenants:admin")).status_code == 403
    assert (await edge.security("orders:read", TenantId(uuid7(now())))).status_code == 403
    [route] = security_router([]).routes
    assert scopes_of(route.dependant) == {"ops"}  # type: ignore[attr-defined]  # an APIRoute


def role(name: str) -> dict[str, Any]:
    return {"name": name, "is_superuser": False, "bypasses_rls": False, "owns_tables": False}


def switched(to: str) -> str:
    every = "SELECT tablename FROM pg_tables WHERE schemaname = 'inventory'"
    change = f"EXECUTE format('ALTER TABLE inventory.%I {to} ROW LEVEL SECURITY', name)"
    return f"DO $$ DECLARE name text; BEGIN FOR name IN {every} LOOP {change}; END LOOP; END $$"
