"""The embedded servers keep what was committed whatever ends them, and leave no process behind."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import asyncpg
import pytest
from sqlalchemy import text

from infra.database import open_pool
from infra.dev.children import began
from infra.dev.postgres import Postgres
from infra.dev.servers import HomeInUse, Servers, start_servers
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
NOT_SET = {"PATH": os.environ["PATH"]}

HOLD = """
import os, sys, time
from pathlib import Path
from infra.dev.servers import start_servers
servers = start_servers(Path(sys.argv[1]), lambda _: None, {})
print(servers.postgres.pid, servers.rabbitmq.pid, flush=True)
time.sleep(120)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home below a directory that only its owner may enter, as `mktemp -d` makes it."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    yield closed / "home"
    shutil.rmtree(closed)


def running_below(home: Path) -> list[str]:
    """The command line of every process that works in the home."""
    listing = subprocess.run(["ps", "-ww", "-e", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True)
    return [line for line in listing.stdout.splitlines() if str(home) in line and line.split()[1][0] != "Z"]


def wait_until_nothing_runs_below(home: Path, patience_s: float = 30.0) -> None:
    until = time.monotonic() + patience_s
    while left := running_below(home):
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.1)


def start_elsewhere_and_kill_the_supervisor(home: Path) -> list[int]:
    """The pids of the servers that a killed supervisor left behind."""
    supervisor = subprocess.Popen([sys.executable, "-c", HOLD, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
    assert len(pids) == 2, "the supervisor did not start its servers"
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait(5)
    return pids


async def write(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.postgres_url)
    await connection.execute("CREATE TABLE kept (word text)")
    await connection.execute("INSERT INTO kept VALUES ('committed')")
    await connection.close()
    broker = await aio_pika.connect(servers.rabbitmq_url)
    async with broker:
        channel = await broker.channel()
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"confirmed", delivery_mode=2), "kept", mandatory=True)


async def assert_kept(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.postgres_url)
    assert await connection.fetchval("SELECT word FROM kept") == "committed"
    await connection.close()
    broker = await aio_pika.connect(servers.rabbitmq_url)
    async with broker:
        channel = await broker.channel()
        queue = await channel.get_queue("kept")
        message = await queue.get(timeout=5, fail=False)
        assert message is not None
        assert message.body == b"confirmed"
        await message.nack(requeue=True)


async def test_data_outlive_a_stop_a_kill_and_the_death_of_the_supervisor(home: Path) -> None:
    first = start_servers(home, lambda _: None, NOT_SET)
    await write(first)
    first.stop()
    wait_until_nothing_runs_below(home)

    second = start_servers(home, lambda _: None, NOT_SET)
    try:
        assert second.postgres_url == first.postgres_url, "a port that is still free is kept"
        assert second.postgres is not None
        assert second.rabbitmq is not None
        second.postgres.kill()
        second.rabbitmq.kill()
        second.rabbitmq.begin()
        second.postgres.start()
        second.rabbitmq.finish()
        await assert_kept(second)
    finally:
        second.stop()
    wait_until_nothing_runs_below(home)

    pids = start_elsewhere_and_kill_the_supervisor(home)
    # At once, while what was left behind may still be stopping.
    third = start_servers(home, lambda _: None, NOT_SET)
    try:
        assert [began(pid) for pid in pids] == [None, None]
        await assert_kept(third)
    finally:
        third.stop()
    wait_until_nothing_runs_below(home)


def test_a_second_platform_in_the_same_home_is_told_who_is_there(home: Path) -> None:
    given = {
        "OAAS_POSTGRES_URL": "postgresql://there/oaas",
        "OAAS_RABBITMQ_URL": "amqp://there",
        "OAAS_RABBITMQ_MANAGEMENT_URL": "http://there",
    }
    first = start_servers(home, lambda _: None, given)
    with pytest.raises(HomeInUse, match=str(os.getpid())):
        start_servers(home, lambda _: None, given)
    first.stop()
    start_servers(home, lambda _: None, given).stop()


def test_servers_that_the_environment_names_are_used_and_not_started(home: Path) -> None:
    given = {
        "OAAS_POSTGRES_URL": "postgresql://there/oaas",
        "OAAS_RABBITMQ_URL": "amqp://there",
        "OAAS_RABBITMQ_MANAGEMENT_URL": "http://there",
    }
    servers = start_servers(home, lambda _: None, given)
    assert (servers.postgres, servers.rabbitmq) == (None, None)
    assert (servers.postgres_url, servers.rabbitmq_url) == ("postgresql://there/oaas", "amqp://there")
    servers.stop()
    assert running_below(home) == []


async def test_commits_are_durable_and_strangers_need_a_password(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.postgres_url)
    assert [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
    await connection.close()
    if servers.postgres is not None:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(servers.postgres_url.replace("oaas_admin:", "oaas_admin:wrong"))


@pytest.mark.parametrize("role", ["app", "relay", "sweeper"])
async def test_services_of_this_machine_come_by_the_unix_socket(servers: Servers, settings: Settings, role: str) -> None:
    if servers.postgres is None or not servers.postgres.socket_folder:
        pytest.skip("the environment names the server, or the path of this checkout is too long for a socket")
    by_socket = settings.model_copy(update={"postgres_socket": servers.postgres.socket_folder})
    for given, is_local in ((by_socket, True), (settings, False)):
        pool = open_pool(given, "inventory", role, 1)
        async with pool.connect() as connection:
            assert (await connection.execute(text("SELECT inet_client_addr() IS NULL"))).scalar_one() is is_local
        await pool.dispose()


def test_a_home_whose_path_is_too_long_for_a_socket_has_none(tmp_path: Path) -> None:
    assert Postgres(Path("/srv/oaas")).socket_folder == "/srv/oaas/postgres/socket"
    assert Postgres(tmp_path / ("long" * 30)).socket_folder == ""


def test_only_its_owner_comes_to_the_socket(servers: Servers) -> None:
    if servers.postgres is None or not servers.postgres.socket_folder:
        pytest.skip("the environment names the server, or the path of this checkout is too long for a socket")
    assert stat.S_IMODE(Path(servers.postgres.socket_folder).stat().st_mode) == 0o700
