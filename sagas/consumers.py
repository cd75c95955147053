"""The sagas there are, and what starts and moves them."""

import asyncio
from pathlib import Path
from typing import Any, Final

from infra.handling import Handles
from infra.service import Running
from infra.settings import Settings
from sagas.cancel_order import CANCEL_ORDER
from sagas.engine.coordinator import Coordinator
from sagas.engine.deadlines import Deadlines
from sagas.engine.definition import Saga, paced
from sagas.engine.released import require_released
from sagas.metrics import count_sagas
from sagas.place_order import PLACE_ORDER
from sagas.place_order_1 import PLACE_ORDER_1

SAGAS: Final[tuple[Saga[Any, Any], ...]] = (PLACE_ORDER, CANCEL_ORDER, PLACE_ORDER_1)
RELEASED: Final = Path(__file__).with_name("released.json")
"""What each version of each saga was when it was released."""


def coordinator(settings: Settings) -> Coordinator:
    """The coordinator of all sagas; raises at once if one of them is not sound, or not what was released under its version."""
    require_released(SAGAS, RELEASED)
    return Coordinator(paced(saga, settings.deadline_factor) for saga in SAGAS)


def handles(settings: Settings) -> tuple[Handles, ...]:
    return (coordinator(settings).handles(),)


async def watch(running: Running) -> None:
    """Time out what nobody answers, and count what there is, for ever."""
    own = coordinator(running.settings)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Deadlines(own, running).run())
        tasks.create_task(count_sagas(running, own.sagas))
