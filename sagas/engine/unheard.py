"""Replies to sagas whose definition this process does not have: kept beside the saga until a process hears them that has it.

While one release takes another's place, both read one queue; after a step back only the old one does. A reply that is parked or
tried again for ever would cost an order or hold up its queue, and asking again is not in every step's policy. So it is kept in the
transaction that the inbox remembers it in: it is not lost, and it is heard once. The saga's timers wait for that process too.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from contracts.messages import Envelope
from contracts.values import SagaId, TenantId
from infra.frames import read_envelope
from infra.statements import Statements
from sagas.engine.definition import Saga
from sagas.engine.instance import Phase, State, command_id

_FIND: Final = "SELECT id, name, version, state, instance FROM sagas.saga WHERE tenant_id = $1 AND id = ANY($2::uuid[])"
_KEEP: Final = """
    INSERT INTO sagas.unheard (tenant_id, message_id, saga_id, envelope, kept_at)
    SELECT $1, given.message_id, given.saga_id, given.envelope, $5
    FROM unnest($2::uuid[], $3::uuid[], $4::text[]) AS given (message_id, saga_id, envelope)"""
_TAKE: Final = "DELETE FROM sagas.unheard WHERE tenant_id = $1 AND saga_id = ANY($2::uuid[]) RETURNING envelope, kept_at"


@dataclass(frozen=True)
class Foreign:
    """A saga of another release's definition, its row locked. Which commands it has asked can be told without the definition."""

    id: SagaId
    is_final: bool
    _askings: Sequence[Mapping[str, Any]]

    def has_asked(self, command: UUID | None) -> bool:
        rounds = ((a, round_) for a in self._askings for round_ in range(1, a["round"] + 1))
        return any(command_id(self.id, Phase(a["phase"]), a["step"], round_) == command for a, round_ in rounds)


async def foreign_among(
    connection: Statements, tenant_id: TenantId, ids: Collection[SagaId], sagas: Mapping[tuple[str, int], Saga[Any, Any]]
) -> dict[SagaId, Foreign]:
    """Those of the tenant's sagas with these ids, locked before, whose definition is not in `sagas`."""
    rows = await connection.fetch(_FIND, tenant_id, list(ids))
    return {
        SagaId(row["id"]): Foreign(SagaId(row["id"]), State(row["state"]).is_final, json.loads(row["instance"])["askings"])
        for row in rows
        if (row["name"], row["version"]) not in sagas
    }


async def keep(connection: Statements, tenant_id: TenantId, replies: Sequence[Envelope], now: datetime) -> None:
    """Keep replies to foreign sagas; whoever runs the timers of those finds them."""
    ids = [reply.sagaid for reply in replies]
    bodies = [reply.model_dump_json(exclude_none=True) for reply in replies]
    await connection.execute(_KEEP, tenant_id, [reply.id for reply in replies], ids, bodies, now)


async def take(connection: Statements, tenant_id: TenantId, ids: Collection[SagaId]) -> list[Envelope]:
    """What is kept for these sagas, which are locked, in the order in which it came; it is kept no longer."""
    rows = await connection.fetch(_TAKE, tenant_id, list(ids))
    return [read_envelope(json.loads(row["envelope"])) for row in sorted(rows, key=lambda row: row["kept_at"])]
