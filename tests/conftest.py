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
"""The folder whose tests share one platform. Others share servers, of which each process has its own."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests run in several processes, each file in one of them, and what plays on the platform in one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return ALONE if file.split("/")[1] == ALONE else file


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
