"""The stage of tests about messages: a virtual host and a database of their own, made once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import aio_pika
import asyncpg
import httpx
import pytest

from infra.broker import close, open_broker
from infra.migrate import migrate
from infra.services import MODULES, migrations_of
from infra.settings import Settings
from infra.topology import topology
from tests.integration.messaging import Stage


@pytest.fixture(scope="session")
def staged(settings: Settings) -> Iterator[Settings]:
    """The servers' settings with a virtual host and a migrated database that nobody else uses."""
    name = f"messaging_{uuid4().hex[:12]}"
    own = settings.model_copy(
        update={
            "postgres_url": str(httpx.URL(settings.postgres_url).copy_with(path=f"/{name}")),
            "rabbitmq_url": str(httpx.URL(settings.rabbitmq_url).copy_with(path=f"/{name}")),
        }
    )
    asyncio.run(_administer(settings, f"CREATE DATABASE {name}"))
    user = httpx.URL(settings.rabbitmq_management_url).username
    with httpx.Client(base_url=settings.rabbitmq_management_url, timeout=30) as management:
        management.put(f"/api/vhosts/{name}").raise_for_status()
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        management.put(f"/api/permissions/{name}/{user}", json=rights).raise_for_status()
        for service in MODULES:
            migrate(service, migrations_of(service), own.postgres_url, own.role_secret, lambda _: None)
        yield own
        management.delete(f"/api/vhosts/{name}").raise_for_status()
    asyncio.run(_administer(settings, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
async def open_stage(staged: Settings) -> AsyncIterator[Stage]:
    broker = open_broker(staged)
    await broker.connect()
    await topology.declare(broker)
    await close(broker)
    # No heartbeat: nobody sends any while a test without the event loop takes its time.
    url = httpx.URL(staged.rabbitmq_url).copy_merge_params({"heartbeat": "0"})
    connection = await aio_pika.connect(str(url), client_properties={"connection_name": "client"})
    administrator = await asyncpg.connect(staged.postgres_url)
    yield Stage(staged, await connection.channel(), administrator)
    await administrator.close()
    await connection.close()


@pytest.fixture
async def stage(open_stage: Stage) -> Stage:
    """Empty queues and outboxes, all policies set."""
    if open_stage.client.is_closed:
        # A test that ran out of time took it along: the next one is not to suffer for that.
        await open_stage.client.reopen()
    await open_stage.empty()
    return open_stage


async def _administer(settings: Settings, statement: str) -> None:
    connection = await asyncpg.connect(settings.postgres_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
