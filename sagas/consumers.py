"""The sagas there are, and what starts and moves them."""

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


async def watch_deadlines(running: Running) -> None:
    """Time out what nobody answers, for ever."""
    await Deadlines(coordinator(running.settings), running).run()
