"""A process of the DBOS application: its threads take orders and run the workflow of each, in its own interpreter.

The order's number is the workflow's id. Clients cost nothing: there is neither a queue of DBOS nor HTTP between them and the workflow.
"""

import os
import threading
from pathlib import Path
from typing import Any, Final

from dbos import DBOS, SetWorkflowID

from tests.bench.peers import synchronous as steps
from tests.bench.peers.books import POSTGRES
from tests.bench.peers.taking import Hatch

THREADS: Final = int(os.environ["PEER_THREADS"])
_CONNECTIONS_BESIDE: Final = 4
"""For what DBOS does beside the workflows."""

_step: Any = DBOS.step()
_create, _confirm, _reject = _step(steps.create), _step(steps.confirm), _step(steps.reject)
_reserve_stock, _reserve_quota, _release_stock = _step(steps.reserve_stock), _step(steps.reserve_quota), _step(steps.release_stock)


def place_order(number: int) -> None:
    """The saga: each step is recorded before the next."""
    _create(number)
    if _reserve_stock(number):
        if _reserve_quota(number):
            _confirm(number)
            return
        _release_stock(number)
    _reject(number)


_place_order: Any = DBOS.workflow()(place_order)


def _serve(hatch: Hatch) -> None:
    while True:
        number = hatch.take()
        with SetWorkflowID(f"order-{number}"):
            _place_order(number)


def main() -> None:
    """Serve until killed."""
    DBOS(
        config={
            "name": "orders",
            "system_database_url": os.environ[POSTGRES],
            "executor_id": os.environ["PEER_EXECUTOR"],
            "application_version": "1",
            "log_level": "ERROR",
            # Nobody waits for another's workflow.
            "use_listen_notify": False,
            "sys_db_pool_size": THREADS + _CONNECTIONS_BESIDE,
            # With a ping before each use, every transaction of DBOS's own would be one round trip longer.
            "db_engine_kwargs": {"pool_pre_ping": False},
        }
    )
    DBOS.launch()
    hatch = Hatch()
    threads = [threading.Thread(target=_serve, args=(hatch,), daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    Path(os.environ["PEER_READY"]).touch()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
