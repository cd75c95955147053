"""The client of the Celery application: sends the first task of each order, and waits for the broker's confirm."""

import os
from pathlib import Path

from tests.bench.peers.celery_application import application, create
from tests.bench.peers.taking import Hatch


def main() -> None:
    """Send until killed."""
    hatch = Hatch()
    # One producer for all, not one looked for in the pool for each.
    with application.producer_pool.acquire() as producer:
        Path(os.environ["PEER_READY"]).touch()
        while True:
            create.apply_async((hatch.take(),), producer=producer)


if __name__ == "__main__":
    main()
