"""The other systems that do the benchmark's work, each as well as we could make it, by the word that names it on the command line.

`on_*.py` start one each, `driving.py` measures it. What a peer's own processes run (`dbos_worker.py`, `restate_*.py`, `celery_*.py`, and
`books.py`, `taking.py`, `synchronous.py` under them) imports nothing of ours but `workload.py`.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from tests.bench.peers.driving import Driver
from tests.bench.peers.installing import Say
from tests.bench.peers.on_celery import celery
from tests.bench.peers.on_dbos import dbos
from tests.bench.peers.on_restate import restate
from tests.bench.workload import Workload

Peer = Callable[[Path, Path, Workload, Say], AbstractAsyncContextManager[Driver]]
"""Starts one in an empty home, from the tools in another folder (installed if they are missing), and gives who drives it."""

PEERS: Final[Mapping[str, Peer]] = {"dbos": dbos, "restate": restate, "celery": celery}
