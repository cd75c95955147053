"""The sagas there are, and what starts and moves them."""

from typing import Any, Final

from infra.handling import Handles
from infra.service import Running
from infra.settings import Settings
from sagas.engine.coordinator import Coordinator
from sagas.engine.deadlines import Deadlines
from sagas.engine.definition import Saga, paced
from sagas.engine.verify import verify
from sagas.place_order import PLACE_ORDER

SAGAS: Final[tuple[Saga[Any, Any], ...]] = (PLACE_ORDER,)


def coordinator(settings: Settings) -> Coordinator:
    """The coordinator of all sagas; raises at once if one of them is not sound."""
    for saga in SAGAS:
        verify(saga)
    return Coordinator(paced(saga, settings.deadline_factor) for saga in SAGAS)


def handles(settings: Settings) -> tuple[Handles, ...]:
    return (coordinator(settings).handles(),)


async def watch_deadlines(running: Running) -> None:
    """Time out what nobody answers, for ever."""
    await Deadlines(coordinator(running.settings), running).run()
