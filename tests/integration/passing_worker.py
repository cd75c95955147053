"""The real worker of inventory, which fails in passing on every reservation until it is mended: until the file FOLDER/mended is there.

Run as `python -m tests.integration.passing_worker FOLDER`.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from contracts.inventory import ReserveStock
from contracts.messages import Envelope, Later, Reply
from infra.errors import Retryable
from infra.services import load
from infra.settings import Settings
from infra.telemetry import configure
from infra.worker import Worker


def main(folder: Path) -> None:
    """Run the worker."""
    [service] = load(["inventory"])

    def decide(envelope: Envelope, state: Any) -> Reply | Later | None:
        if not (folder / "mended").exists():
            raise Retryable("not mended yet")
        return reserve(envelope, state)

    [first, *others] = service.handles(Settings())
    reserve = first.decide[ReserveStock]
    table = [replace(first, decide={**first.decide, ReserveStock: decide}), *others]
    settings = Settings()
    configure("inventory", settings)
    uvloop.run(Worker([replace(service, handles=lambda _settings: table)], settings).run())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
