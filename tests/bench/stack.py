"""The platform that is measured: real servers, one process per name in a layout, each with its metrics; and what they have spent."""

import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from infra.dev.ports import free_port
from infra.dev.up import Platform, Say, platform
from infra.services import MODULES
from infra.settings import ENVIRONMENT, Settings
from tests.bench.cpu import cpu_s
from tests.bench.ends import note_when_commits_are

SHIPPED: Final = "place-order"
MEASURED: Final = "measured"
UNBOUNDED: Final = {"OAAS_BACKLOG_MIN": "10000000", "OAAS_BACKLOG_MAX": "10000000", "OAAS_BACKLOG_TENANT_SHARE": "1"}
"""For measuring over HTTP how much can be done, and not how much is let in."""
EACH_ITS_OWN: Final[Mapping[str, Sequence[str]]] = {service: (service,) for service in MODULES}
"""As `oaas up` has it: a process for each service."""
_COUNTED: Final = ("oaas_envelopes_published_total", "oaas_frame_envelopes_count", "oaas_batch_envelopes_count", "oaas_batch_envelopes_sum")


@dataclass(frozen=True)
class Spent:
    """What the platform has spent and done since it was started."""

    cpu_s: Mapping[str, float]
    counted: Mapping[str, float]
    """Metrics of all workers together, by name."""
    wal_bytes: float
    fsyncs: float
    commits: float


@dataclass(frozen=True)
class Stack:
    """A running platform with an administrator's connection."""

    running: Platform
    settings: Settings
    administrator: asyncpg.Connection
    names: Sequence[str]

    def pids(self) -> dict[str, int]:
        """Our own processes, by name."""
        supervisor = self.running.supervisor
        return {name: pid for name in (*self.names, "api", "acquirer") if (pid := supervisor.pid(name)) is not None}

    async def spent(self) -> Spent:
        pids = self.pids()
        servers = self.running.servers
        for name, server in (("PostgreSQL", servers.postgres), ("RabbitMQ", servers.rabbitmq)):
            assert server is not None
            assert server.pid is not None
            pids[name] = server.pid
        wal = await self.administrator.fetchrow("SELECT wal_bytes::float8, wal_sync::float8 FROM pg_stat_wal")
        commits = await self.administrator.fetchval("SELECT sum(xact_commit)::float8 FROM pg_stat_database")
        assert wal is not None
        return Spent(cpu_s(pids), self._counted(), wal["wal_bytes"], wal["wal_sync"], commits)

    def _counted(self) -> Mapping[str, float]:
        found: dict[str, float] = defaultdict(float)
        for url in self.running.metrics_urls.values():
            with urllib.request.urlopen(url, timeout=5) as answer:
                text = answer.read().decode()
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name in _COUNTED:
                        found[sample.name] += sample.value
        return found


@asynccontextmanager
async def stack(
    home: Path,
    say: Say,
    *,
    saga: str = MEASURED,
    layout: Mapping[str, Sequence[str]] = EACH_ITS_OWN,
    overrides: Mapping[str, str] | None = None,
) -> AsyncIterator[Stack]:
    """The platform on fresh servers in `home`. `layout`: by process name the services in it; `saga`: which one orders start."""
    await note_when_commits_are(home)
    module = ("infra.cli", "worker") if saga == SHIPPED else ("tests.bench.worker",)
    workers = {name: (*module, *services) for name, services in layout.items()}
    with platform(home, overrides, say=say, api_port=free_port(), workers=workers, measured=list(layout)) as running:
        settings = Settings(_env_file=home / ENVIRONMENT)
        administrator = await asyncpg.connect(running.servers.postgres_url)
        try:
            yield Stack(running, settings, administrator, list(layout))
        finally:
            await administrator.close()
