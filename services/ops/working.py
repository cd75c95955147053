"""What a worker of the desk does beside consuming: drain dead letters, replay, count, forget, compare the services' books."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from infra.service import Running
from services.ops.books.rounds import reconcile_regularly
from services.ops.desk.forgetting import forget
from services.ops.desk.metrics import count_letters
from services.ops.replay.replaying import execute_replays
from services.ops.taking_in.ingest import ingest

TASKS: Final[tuple[Callable[[Running], Coroutine[Any, Any, None]], ...]] = (
    ingest,
    execute_replays,
    count_letters,
    forget,
    reconcile_regularly,
)


async def work(running: Running) -> None:
    """All of them, for ever; if one ends, the process must end with it."""
    async with asyncio.TaskGroup() as group:
        for task in TASKS:
            group.create_task(task(running), name=f"ops {task.__name__}")
