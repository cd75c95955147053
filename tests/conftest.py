"""Fixtures of the whole test run: the servers are started once, and only if a test asks for them."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from xdist.scheduler import LoadScopeScheduling

from infra.dev.servers import Servers, start_servers
from infra.migrate import migrate
from infra.services import MODULES, migrations_of
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
ALONE = "system"
"""The folder whose tests share two platforms. Others share servers, of which each process has its own."""
BREAKING = ("test_chaos_short.py", "test_alarms.py", "test_outages.py", "test_worker_deaths.py")
"""Its tests that break the platform most; the rest plays beside them, on another one."""
LONGEST = (
    "test_random_faults",
    "test_reconcile",
    "test_payments_provider",
    "test_replay_",
    "test_saga_",
    "test_letters_",
    "test_messaging_",
)
"""Files that begin so are begun first, after the platforms: what takes long must not come last."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests run in several processes, each file in one of them, and what plays on the same platform in one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return _platform(file) or file


def _platform(file: str) -> str | None:
    if file.split("/")[1] != ALONE:
        return None
    return f"{ALONE} {'breaking' if file.endswith(BREAKING) else 'playing'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scopes are handed out in the order of their first tests (`--no-loadscope-reorder`)."""

    def begins(item: pytest.Item) -> tuple[int, str]:
        file = item.nodeid.split("::")[0]
        places = [place for place, prefix in enumerate(LONGEST) if file.split("/")[-1].startswith(prefix)]
        return (-1 if _platform(file) else min(places, default=len(LONGEST)), _platform(file) or "")

    items.sort(key=begins)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged reaches the process that collects it as UTF-8: half a surrogate pair would end the run there."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and RabbitMQ: those that the environment names, else embedded ones under `.oaas/test`, for each process its own."""
    home = ROOT / ".oaas" / "test" / os.environ.get("PYTEST_XDIST_WORKER", "")
    started = start_servers(home, lambda _: None)
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
