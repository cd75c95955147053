"""What the desk hears of sagas, and of its own letters."""

from typing import Final

from infra.handling import Handles
from services.ops.desk.sagas_seen import SAGAS_SEEN
from services.ops.replay.outcomes import OUTCOMES

HANDLES: Final[tuple[Handles, ...]] = (SAGAS_SEEN, OUTCOMES)
