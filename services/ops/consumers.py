"""What the desk hears of sagas, and of its own letters."""

from typing import Final

from infra.handling import Handles
from services.ops.outcomes import OUTCOMES
from services.ops.sagas_seen import SAGAS_SEEN

HANDLES: Final[tuple[Handles, ...]] = (SAGAS_SEEN, *OUTCOMES)
