"""Fixtures of the whole test run: the servers are started once, and only if a test asks for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.dev.servers import Servers, start_servers
from infra.migrate import migrate
from infra.services import MODULES, migrations_of
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and RabbitMQ: those that OAAS_POSTGRES_URL and OAAS_RABBITMQ_URL name, else embedded ones under `.oaas/test`."""
    started = start_servers(ROOT / ".oaas" / "test", lambda _: None)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def settings(servers: Servers) -> Settings:
    """Where the servers are, with every service's schema at its newest revision."""
    found = Settings(
        postgres_url=servers.postgres_url,
        rabbitmq_url=servers.rabbitmq_url,
        rabbitmq_management_url=servers.rabbitmq_management_url,
        role_secret=SecretStr("the roles of the test servers"),
    )
    for service in MODULES:
        migrate(service, migrations_of(service), found.postgres_url, found.role_secret, lambda _: None)
    return found
