"""The service as the process that runs it sees it."""

from typing import Final

from infra.retention import Forgets
from infra.service import Service
from infra.settings import Settings
from services.ops.consumers import HANDLES
from services.ops.working import work


def _keep_days(settings: Settings) -> int:
    return settings.dead_letter_keep_days


_NO_ITEM: Final = """NOT EXISTS (SELECT FROM ops.replay WHERE replay.id = replay_part.replay_id)
    AND NOT EXISTS (SELECT FROM ops.replay_item AS item WHERE item.replay_id = replay_part.replay_id)"""
# In this order: an item goes when its replay has gone, so that a replay that is there always has all of its items, and a part after both.
FORGETS: Final = (
    Forgets("saga", "at", _keep_days, "state IN ('COMPLETED', 'ABANDONED')"),
    Forgets("finding", "gone_at", _keep_days),
    Forgets("replay", "ended_at", _keep_days),
    Forgets("replay_item", "ended_at", _keep_days, "NOT EXISTS (SELECT FROM ops.replay WHERE replay.id = replay_item.replay_id)"),
    Forgets("replay_part", "planned_at", _keep_days, _NO_ITEM),
    Forgets("question", "asked_at", _keep_days),
)
"""What the desk forgets beside letters, which desk/forgetting.py sees to."""
SERVICE: Final = Service(name="ops", handles=lambda _settings: HANDLES, background=work, operators="services.ops.ops_api", forgets=FORGETS)
