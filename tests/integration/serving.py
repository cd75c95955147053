"""A service's HTTP API in this process, on the real database, called with development tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prometheus_client import CollectorRegistry

from infra.clock import now
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.outbox import Outgoing
from infra.service import Service
from infra.settings import Settings
from infra.token import ensure_development_key, issue
from infra.transaction import Transactions
from tests.conformance.places import opened


@dataclass(frozen=True)
class Api:
    """A service that answers HTTP, and what it published."""

    client: httpx.AsyncClient
    settings: Settings
    transaction: Transactions
    published: list[Outgoing]
    home: Path

    def token(self, *scopes: str, tenant_id: UUID | None = None) -> dict[str, str]:
        """The header that says who calls."""
        names = {"issuer": self.settings.issuer, "audience": self.settings.audience}
        bearer = issue(self.home, now(), tenant_id=tenant_id, scopes=scopes, lifetime=timedelta(hours=1), **names)
        return {"Authorization": f"Bearer {bearer}"}

    async def call(self, verb: str, path: str, who: dict[str, str], body: Any = None) -> httpx.Response:
        return await self.client.request(verb, path, headers=who, json=body)


@asynccontextmanager
async def serving(service: Service, settings: Settings, home: Path) -> AsyncIterator[Api]:
    """The service's routes behind the whole HTTP edge."""
    verifier = Verifier(str(ensure_development_key(home)), settings.issuer, settings.audience)
    published: list[Outgoing] = []
    async with opened(settings, service.name, lambda outgoing: published.extend(outgoing)) as transaction:
        router = service.router(transaction, settings)
        assert router is not None
        routers = {service.name: router}
        app = create_app("test", routers, verifier=verifier, registry=CollectorRegistry())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            yield Api(client, settings, transaction, published, home)
