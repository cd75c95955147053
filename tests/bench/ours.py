"""Ours as one of the contenders: the platform, its books filled, and who drives it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.dev.up import Say
from tests.bench.books import Town
from tests.bench.driving import Driver
from tests.bench.http_submitting import http_submitter
from tests.bench.stack import EACH_ITS_OWN, MEASURED, SHIPPED, UNBOUNDED, stack
from tests.bench.submitting import submitter
from tests.bench.workload import Workload

_WARMING_UP: Final = 1_000
_IN_FLIGHT_WARMING_UP: Final = 500


@dataclass(frozen=True)
class Ours:
    """How the platform is run. `settings`: environment of its processes; `layout`: the services in each process."""

    saga: str = MEASURED
    over_http: bool = False
    in_flight: int = 8_000
    layout: Mapping[str, Sequence[str]] = field(default_factory=lambda: EACH_ITS_OWN)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        saga = "PLACE_ORDER as shipped" if self.saga == SHIPPED else "oaas"
        return f"{saga}, over HTTP" if self.over_http else saga

    @asynccontextmanager
    async def running(self, home: Path, workload: Workload, say: Say) -> AsyncIterator[Driver]:
        """It, warm, on fresh servers in `home`."""
        town = Town(workload)
        settings = {**(UNBOUNDED if self.over_http else {}), **self.settings}
        async with stack(home, say, saga=self.saga, layout=self.layout, overrides=settings) as made:
            await town.fill(made.administrator)
            is_shipped = self.saga == SHIPPED
            submitting = http_submitter(made, town) if self.over_http else submitter(made.settings, town, is_shipped=is_shipped)
            async with submitting as submits:
                driver = Driver(self.name, made, submits, workload, self.in_flight)
                await driver.capacity(_WARMING_UP, _IN_FLIGHT_WARMING_UP)
                yield driver
