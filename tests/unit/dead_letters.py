"""A dead letter for tests of what happens to it."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from contracts.values import TenantId
from services.ops.desk.model import Letter, State

NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)


def letter(state: State = State.DEAD, replay_id: UUID | None = None) -> Letter:
    """A letter that died at noon."""
    return Letter(
        tenant_id=TenantId(uuid4()),
        id=uuid4(),
        message_id=uuid4(),
        saga_id=None,
        trace_id=None,
        state=state,
        attempts=1,
        deaths=1,
        replays_in_vain=0,
        is_native=False,
        is_readable=True,
        sent_at=None,
        first_died_at=NOON,
        died_at=NOON,
        changed_at=NOON,
        revision=0,
        replay_id=replay_id,
        queue="inventory.commands.0",
        service="inventory",
        type="x",
        subject="x",
        fingerprint="x",
        exception_type="x",
        error="x",
        build="x",
    )
