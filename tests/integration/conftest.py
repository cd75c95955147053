"""The stage of tests about messages, a virtual host and a database of their own, made once; and the operators' desk on it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
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
from tests.integration.desk import Desk, at_the_desk
from tests.integration.letters import LetterDesk, letter_desk
from tests.integration.letters_terminal import Terminal, a_terminal, for_a_tenant
from tests.integration.messaging import Stage, working
from tests.integration.reconciled import at_a_terminal
from tests.integration.replays import Bug, inventory_with
from tests.integration.terminal import sit_down
from tests.integration.town import Town, a_town


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


@pytest.fixture(scope="module")
async def shared_desk(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """The operators' desk for sagas."""
    async with at_the_desk(settings, tmp_path_factory.mktemp("desk")) as opened:
        yield opened


@pytest.fixture
def desk(shared_desk: Desk) -> Desk:
    """A tenant for each test."""
    return shared_desk.of_another_tenant()


@pytest.fixture(scope="module")
async def shared_town(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Every service in this process, whose books can be compared."""
    async with a_town(settings, tmp_path_factory.mktemp("town")) as opened:
        yield opened


@pytest.fixture
async def town(shared_town: Town, monkeypatch: pytest.MonkeyPatch) -> Town:
    """A tenant for each test, and somebody at a terminal."""
    return await at_a_terminal(shared_town, monkeypatch)


@pytest.fixture(scope="module")
async def letters_desk(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LetterDesk]:
    """The desk's routes, on which letters are put without a broker."""
    async with letter_desk(settings, tmp_path_factory.mktemp("desk")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def shared_terminal(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Terminal]:
    """The desk with its worker and an API, for people who type."""
    await open_stage.empty()
    async with a_terminal(open_stage, tmp_path_factory.mktemp("desk")) as opened:
        yield opened


@pytest.fixture
async def terminal(shared_terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A tenant for each test."""
    sit_down(monkeypatch, shared_terminal.home, OAAS_API_URL=shared_terminal.url, COLUMNS="200")
    return await for_a_tenant(shared_terminal)


@pytest.fixture
async def quiet_inventory(open_stage: Stage, tmp_path: Path) -> AsyncIterator[Bug]:
    """Inventory's worker, without a bug; it answers what the desk asks about letters."""
    bug = Bug(is_mended=True)
    async with working(inventory_with(bug), open_stage.settings, tmp_path):
        yield bug


@pytest.fixture(scope="module")
async def administrator(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Whoever sees all tenants' rows."""
    connection = await asyncpg.connect(settings.postgres_url)
    yield connection
    await connection.close()


async def _administer(settings: Settings, statement: str) -> None:
    connection = await asyncpg.connect(settings.postgres_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
