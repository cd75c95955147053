"""The letters that a plan looks at, thousands at once: of each only what planning asks for, not locked, one tenant at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from contracts.values import SagaId, TenantId
from infra.transaction import Scope
from services.ops.desk.model import held_back, too_old


@dataclass(slots=True)
class Candidate:
    """A letter that fits, as it stands now."""

    tenant_id: TenantId
    id: UUID
    queue: str
    type: str
    message_id: UUID | None
    saga_id: SagaId | None
    state: str
    build: str
    deaths: int
    replays_in_vain: int
    is_readable: bool
    sent_at: datetime | None
    first_died_at: datetime
    died_at: datetime
    revision: int

    @property
    def is_held_back(self) -> bool:
        """It is left out unless somebody insists."""
        return held_back(self.replays_in_vain)

    def is_too_old(self, now: datetime, keep: timedelta) -> bool:
        """Its service may have forgotten by now whether it handled the message, and could handle it twice."""
        return too_old(self.sent_at, self.first_died_at, now, keep)


_READ: Final = f"""
    SELECT {", ".join(Candidate.__slots__)} FROM ops.letter WHERE tenant_id = $1 AND id = ANY($2::uuid[])"""  # noqa: S608 - names of columns


async def read(scope: Scope, ids: Sequence[UUID]) -> list[Candidate]:
    """Those of these letters that are the scope's tenant's, in no order."""
    return [Candidate(*row) for row in await scope.connection.fetch(_READ, scope.tenant_id, ids)]
