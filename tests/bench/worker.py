"""A worker process as `oaas worker` runs it, but that `sagas` runs the measured saga: `python -m tests.bench.worker SERVICE...`."""

import sys
from collections.abc import Sequence

import uvloop

from infra.services import load
from infra.settings import Settings
from infra.telemetry import configure
from infra.worker import Worker
from tests.bench.measured_saga import SERVICE


def main(names: Sequence[str]) -> None:
    """Run the worker of these services."""
    services = [SERVICE if service.name == SERVICE.name else service for service in load(names)]
    settings = Settings()
    configure("+".join(names), settings)
    uvloop.run(Worker(services, settings).run())


if __name__ == "__main__":
    main(sys.argv[1:])
