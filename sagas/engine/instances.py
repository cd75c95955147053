"""The tables `saga` and `saga_event`: one row per saga, and a history that is only ever appended to.

Rows are locked in the order of their ids, once per group; a row is written once however many replies moved it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import asyncpg

from contracts.catalog import name_of
from contracts.messages import Event
from contracts.values import SagaId, TenantId
from infra.errors import Retryable
from infra.frames import read_data
from infra.rows import require_updated
from infra.telemetry import trace_id_of
from sagas.engine.definition import Saga
from sagas.engine.history import Entry
from sagas.engine.instance import Instance, from_json, to_json
from sagas.engine.machine import Ask, Moved
from sagas.engine.outlook import fingerprint_of, stuck_at, waits_for

_SELECT: Final = """
    SELECT id, name, version, subject, started_by, instance, events FROM sagas.saga
    WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY id FOR UPDATE"""
_INSERT: Final = """
    INSERT INTO sagas.saga
        (tenant_id, id, name, version, subject, started_by, started_at, changed_at,
         state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at)
    SELECT $1, id, name, version, subject, started_by, $2, $2,
        state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at
    FROM unnest($3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::int[], $9::text[], $10::text[],
            $11::timestamptz[], $12::timestamptz[], $13::text[], $14::int[], $15::text[], $16::text[])
        AS given (id, state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at,
            name, version, subject, started_by)"""
_UPDATE: Final = """
    UPDATE sagas.saga AS saga
    SET state = given.state, revision = given.revision, instance = given.instance, wake_at = given.wake_at, events = given.events,
        step = given.step, fingerprint = given.fingerprint, progressed_at = given.progressed_at, stuck_at = given.stuck_at, changed_at = $2
    FROM unnest($3::uuid[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::int[], $9::text[], $10::text[],
            $11::timestamptz[], $12::timestamptz[])
        AS given (id, state, revision, instance, wake_at, events, step, fingerprint, progressed_at, stuck_at)
    WHERE saga.tenant_id = $1 AND saga.id = given.id"""
_APPEND: Final = """
    INSERT INTO sagas.saga_event
        (tenant_id, saga_id, number, kind, step, phase, attempt, detail, reply, trace_id, at, actor, reason, message_id)
    SELECT $1, event.* FROM unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[], $9::text[],
            $10::text[], $11::timestamptz[], $12::text[], $13::text[], $14::uuid[]) AS event"""


class UnknownDefinition(Retryable):
    """A saga is under way whose definition this release does not have: another release's process may. Old versions stay beside the new."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"no definition of saga {name} version {version}; keep it beside the new one while instances are under way")


@dataclass
class Held:
    """One saga of the group, its row locked (or about to be inserted), and what has moved it so far."""

    saga: Saga[Any, Any]
    instance: Instance[Any, Any]
    subject: str
    is_new: bool = False
    events: int = 0
    """Length of the history so far."""
    before: Instance[Any, Any] | None = None
    """As it was when it was locked; None for a new one."""
    asks: list[tuple[Ask, str | None]] = field(default_factory=list)
    entries: list[tuple[Entry, str | None]] = field(default_factory=list)

    def move(self, moved: Moved[Any, Any], traceparent: str | None) -> None:
        """Take over what the machine decided; several moves fold into one write."""
        self.instance = moved.instance
        self.asks += [(ask, traceparent) for ask in moved.asks]
        self.entries += [(entry, traceparent) for entry in moved.entries]


async def lock(
    connection: asyncpg.Connection,
    tenant_id: TenantId,
    ids: Sequence[SagaId],
    sagas: Mapping[tuple[str, int], Saga[Any, Any]],
    *,
    skip_locked: bool = False,
) -> dict[SagaId, Held]:
    """The tenant's sagas with these ids, locked; with `skip_locked`, without those that somebody else is moving."""
    rows = await connection.fetch(_SELECT + (" SKIP LOCKED" if skip_locked else ""), tenant_id, ids)
    return {SagaId(row["id"]): held_from(row, tenant_id, sagas) for row in rows}


def held_from(row: asyncpg.Record, tenant_id: TenantId, sagas: Mapping[tuple[str, int], Saga[Any, Any]]) -> Held:
    """What a row of `saga` tells (of _SELECT's columns); raises UnknownDefinition, and ValueError or LookupError for a damaged one."""
    saga = sagas.get((row["name"], row["version"]))
    if saga is None:
        raise UnknownDefinition(row["name"], row["version"])
    started_by = json.loads(row["started_by"])
    order = read_data(started_by["type"], started_by["data"])
    assert isinstance(order, Event)
    instance = from_json(saga, SagaId(row["id"]), tenant_id, order, json.loads(row["instance"]))
    return Held(saga, instance, row["subject"], events=row["events"], before=instance)


async def write(connection: asyncpg.Connection, tenant_id: TenantId, held: Sequence[Held], now: datetime) -> None:
    """Insert the new ones, update the moved ones, append to every history: at most three statements."""
    moved = [one for one in held if one.entries]
    if new := [one for one in moved if one.is_new]:
        await _insert(connection, tenant_id, new, now)
    if old := [one for one in moved if not one.is_new]:
        await _update(connection, tenant_id, old, now)
    if moved:
        await _append(connection, tenant_id, moved)


async def _insert(connection: asyncpg.Connection, tenant_id: TenantId, new: Sequence[Held], now: datetime) -> None:
    await connection.execute(
        _INSERT,
        tenant_id,
        now,
        *_columns(new),
        [one.instance.name for one in new],
        [one.instance.version for one in new],
        [one.subject for one in new],
        [_started_by(one.instance) for one in new],
    )


async def _update(connection: asyncpg.Connection, tenant_id: TenantId, old: Sequence[Held], now: datetime) -> None:
    require_updated(await connection.execute(_UPDATE, tenant_id, now, *_columns(old)), len(old))


def _columns(held: Sequence[Held]) -> tuple[list[Any], ...]:
    """What changes with every move: the instance, and beside it what people and timers look for."""
    return (
        [one.instance.id for one in held],
        [one.instance.state.value for one in held],
        [one.instance.revision for one in held],
        [json.dumps(to_json(one.instance)) for one in held],
        [one.instance.wake_at for one in held],
        [one.events + len(one.entries) for one in held],
        [waits_for(one.instance) for one in held],
        [fingerprint_of(one.instance) for one in held],
        [one.instance.progressed_at for one in held],
        [stuck_at(one.saga, one.instance) for one in held],
    )


async def _append(connection: asyncpg.Connection, tenant_id: TenantId, moved: Sequence[Held]) -> None:
    events = [
        (one.instance.id, one.events + number, entry, traceparent)
        for one in moved
        for number, (entry, traceparent) in enumerate(one.entries, start=1)
    ]
    await connection.execute(
        _APPEND,
        tenant_id,
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
    return json.dumps({"type": name_of(type(instance.order)), "data": instance.order.model_dump(mode="json")})


def _reply(entry: Entry) -> str | None:
    if entry.reply is None:
        return None
    return json.dumps({"type": name_of(type(entry.reply)), "data": entry.reply.model_dump(mode="json")})
