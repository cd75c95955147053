"""The tables `saga` and `saga_event`: one row per saga, and a history that is only ever appended to.

Rows are locked in the order of their ids, once per group; a row is written once however many replies moved it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import from_json as read
from pydantic_core import to_json as written

from contracts.catalog import name_of
from contracts.messages import Event
from contracts.values import SagaId, TenantId
from infra.errors import Retryable
from infra.frames import read_data
from infra.statements import Statements
from infra.telemetry import trace_id_of
from infra.transaction import Scope
from infra.wire_values import Row
from sagas.engine.definition import Saga
from sagas.engine.held import Held
from sagas.engine.history import Entry
from sagas.engine.instance import Instance, from_json, to_json
from sagas.engine.outlook import fingerprint_of, stuck_at, waits_for
from sagas.engine.remembered import Remembered

_SELECT: Final = """
    SELECT id, name, version, subject, started_by, instance, events FROM sagas.saga
    WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR UPDATE"""
_LOCK: Final = "SELECT id, revision FROM sagas.saga WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR UPDATE"
_INSERT: Final = """
    INSERT INTO sagas.saga
        (tenant_id, id, name, version, subject, started_by, started_at, changed_at,
         state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at)
    SELECT $1::uuid, id, name, version, subject, started_by, $2::timestamptz, $2::timestamptz,
        state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at
    FROM unnest($3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::int[], $9::text[], $10::text[],
            $11::timestamptz[], $12::timestamptz[], $13::text[], $14::int[], $15::text[], $16::text[])
        AS given (id, state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at,
            name, version, subject, started_by)"""
_UPDATE: Final = """
    UPDATE sagas.saga AS saga
    SET state = given.state, revision = given.revision, instance = given.instance, wake_at = given.wake_at, events = given.events,
        step = given.step, fingerprint = given.fingerprint, progressed_at = given.progressed_at, stuck_at = given.stuck_at,
        changed_at = $2::timestamptz
    FROM unnest($3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::int[], $9::text[], $10::text[],
            $11::timestamptz[], $12::timestamptz[])
        AS given (id, state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at)
    WHERE saga.tenant_id = $1 AND saga.id = given.id"""
_APPEND: Final = """
    INSERT INTO sagas.saga_event
        (tenant_id, saga_id, number, kind, step, phase, attempt, detail, reply, trace_id, at, actor, reason, message_id)
    SELECT $1::uuid, event.* FROM unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[], $9::text[],
            $10::text[], $11::timestamptz[], $12::text[], $13::text[], $14::uuid[]) AS event"""


class UnknownDefinition(Retryable):
    """A saga is under way whose definition this release does not have: another release's process may. Old versions stay beside the new."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"no definition of saga {name} version {version}; keep it beside the new one while instances are under way")


async def lock(
    connection: Statements,
    tenant_id: TenantId,
    ids: Sequence[SagaId],
    sagas: Mapping[tuple[str, int], Saga[Any, Any]],
    *,
    skip_locked: bool = False,
) -> dict[SagaId, Held]:
    """The tenant's sagas with these ids, locked; with `skip_locked`, without those that somebody else is moving."""
    rows = await connection.fetch(_SELECT + (" SKIP LOCKED" if skip_locked else ""), tenant_id, ids)
    return {SagaId(row["id"]): held_from(row, tenant_id, sagas) for row in rows}


def held_from(row: Row, tenant_id: TenantId, sagas: Mapping[tuple[str, int], Saga[Any, Any]]) -> Held:
    """What a row of `saga` tells (of _SELECT's columns); raises UnknownDefinition, and ValueError or LookupError for a damaged one."""
    saga = sagas.get((row["name"], row["version"]))
    if saga is None:
        raise UnknownDefinition(row["name"], row["version"])
    started_by = read(row["started_by"])
    order = read_data(started_by["type"], started_by["data"])
    assert isinstance(order, Event)
    instance = from_json(saga, SagaId(row["id"]), tenant_id, order, row["instance"])
    return Held(saga, instance, row["subject"], events=row["events"], before=instance)


async def lock_remembered(
    connection: Statements,
    tenant_id: TenantId,
    ids: Sequence[SagaId],
    sagas: Mapping[tuple[str, int], Saga[Any, Any]],
    remembered: Remembered,
) -> dict[SagaId, Held]:
    """As `lock`; of those that are remembered, no more than the revision is read."""
    known = remembered.of(tenant_id, ids)
    if not known:
        return await lock(connection, tenant_id, ids, sagas)
    revisions = {SagaId(row["id"]): row["revision"] for row in await connection.fetch(_LOCK, tenant_id, ids)}
    held = {id: one for id, one in known.items() if one.instance.revision == revisions.get(id)}
    if unknown := [id for id in revisions if id not in held]:
        held |= await lock(connection, tenant_id, unknown, sagas)
    return held


def write(scope: Scope, held: Sequence[Held]) -> None:
    """Insert the new ones, update the moved ones, append to every history: at most three statements, before the scope ends."""
    moved = [one for one in held if one.entries]
    if new := [one for one in moved if one.is_new]:
        _insert(scope, new)
    if old := [one for one in moved if not one.is_new]:
        scope.write(_UPDATE, scope.tenant_id, scope.now, *_columns(old), rows=len(old))
    if moved:
        _append(scope, moved)


def _insert(scope: Scope, new: Sequence[Held]) -> None:
    scope.write(
        _INSERT,
        scope.tenant_id,
        scope.now,
        *_columns(new),
        [one.instance.name for one in new],
        [one.instance.version for one in new],
        [one.subject for one in new],
        [_started_by(one.instance) for one in new],
    )


def _columns(held: Sequence[Held]) -> tuple[list[Any], ...]:
    """What changes with every move: the instance, and beside it what people and timers look for."""
    return (
        [one.instance.id for one in held],
        [one.instance.state.value for one in held],
        [one.instance.revision for one in held],
        [to_json(one.instance) for one in held],
        [one.instance.wake_at for one in held],
        [one.events + len(one.entries) for one in held],
        [waits_for(one.instance) for one in held],
        [fingerprint_of(one.instance) for one in held],
        [one.instance.progressed_at for one in held],
        [stuck_at(one.saga, one.instance) for one in held],
    )


def _append(scope: Scope, moved: Sequence[Held]) -> None:
    events = [
        (one.instance.id, one.events + number, entry, traceparent)
        for one in moved
        for number, (entry, traceparent) in enumerate(one.entries, start=1)
    ]
    scope.write(
        _APPEND,
        scope.tenant_id,
        [id for id, _, _, _ in events],
        [number for _, number, _, _ in events],
        [entry.kind.value for _, _, entry, _ in events],
        [entry.step for _, _, entry, _ in events],
        [entry.phase.value if entry.phase else None for _, _, entry, _ in events],
        [entry.attempt for _, _, entry, _ in events],
        [entry.detail for _, _, entry, _ in events],
        [_reply(entry) for _, _, entry, _ in events],
        [trace_id_of(traceparent) for _, _, _, traceparent in events],
        [entry.at for _, _, entry, _ in events],
        [entry.actor for _, _, entry, _ in events],
        [entry.reason for _, _, entry, _ in events],
        [entry.message_id for _, _, entry, _ in events],
    )


def _started_by(instance: Instance[Any, Any]) -> str:
    return written({"type": name_of(type(instance.order)), "data": instance.order}).decode()


def _reply(entry: Entry) -> str | None:
    if entry.reply is None:
        return None
    return written({"type": name_of(type(entry.reply)), "data": entry.reply}).decode()
