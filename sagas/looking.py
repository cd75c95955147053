"""Reads sagas as a whole inside their tenant, for people: the row, what it waits for, its history and what operators tried."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from contracts.catalog import owner_of
from contracts.messages import Command, Refusal, Reply
from contracts.values import SagaId, TenantId
from infra.transaction import Scope, Transactions
from infra.unscoped.sagas import FoundSaga
from infra.wire_values import Row
from sagas.engine.definition import Saga
from sagas.engine.held import Held
from sagas.engine.instance import ABANDON_STEP, Asking, Instance, Phase
from sagas.engine.instances import UnknownDefinition, held_from
from sagas.engine.moving import Move

Definitions = Mapping[tuple[str, int], Saga[Any, Any]]

_SAGAS: Final = """
    SELECT tenant_id, id, name, version, subject, state, revision, step, fingerprint, started_at, changed_at, progressed_at, stuck_at,
        wake_at, started_by, instance, events
    FROM sagas.saga WHERE tenant_id = $1 AND (id = ANY($2::uuid[]) OR subject = ANY($3::text[])) ORDER BY started_at, id"""
_EVENTS: Final = """
    SELECT saga_id, number, kind, step, phase, attempt, detail, reply, trace_id, at, actor, reason, message_id
    FROM sagas.saga_event WHERE tenant_id = $1 AND saga_id = ANY($2::uuid[]) ORDER BY saga_id, number"""
_ATTEMPTS: Final = """
    SELECT saga_id, at, actor, verb, outcome, reason, detail
    FROM sagas.operator_audit WHERE tenant_id = $1 AND saga_id = ANY($2::uuid[]) ORDER BY at, id"""
_SUBJECTS: Final = "SELECT DISTINCT subject FROM sagas.saga WHERE tenant_id = $1 AND id = ANY($2::uuid[]) ORDER BY subject"


@dataclass(frozen=True)
class Looked:
    """One saga. `held` is None if this release cannot read it, `unreadable` says why."""

    found: FoundSaga
    wake_at: datetime | None
    held: Held | None
    unreadable: str | None
    events: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)


async def look(
    transaction: Transactions, definitions: Definitions, tenant_id: TenantId, ids: Sequence[SagaId] = (), subjects: Sequence[str] = ()
) -> list[Looked]:
    """The tenant's sagas with these ids, and those about these subjects; the oldest first."""
    async with transaction(tenant_id) as scope:
        rows = await scope.connection.fetch(_SAGAS, tenant_id, list(ids), list(subjects))
        looked = {row["id"]: _looked(row, definitions) for row in rows}
        for event in await scope.connection.fetch(_EVENTS, tenant_id, list(looked)):
            looked[event["saga_id"]].events.append(event)
        for attempt in await scope.connection.fetch(_ATTEMPTS, tenant_id, list(looked)):
            looked[attempt["saga_id"]].attempts.append(attempt)
        return list(looked.values())


async def subjects_of(scope: Scope, ids: Sequence[SagaId]) -> list[str]:
    """What the tenant's sagas with these ids are about."""
    return [row["subject"] for row in await scope.connection.fetch(_SUBJECTS, scope.tenant_id, list(ids))]


def until(instance: Instance[Any, Any], asking: Asking) -> datetime | None:
    """When silence counts, or when it is asked again; None while no time runs for it: parked, paused, contradicted."""
    return None if instance.is_held or instance.parked_at is not None else asking.deadline


def insists(held: Held, asking: Asking) -> bool:
    """Whether it is asked until it is answered, however long that takes."""
    return asking.phase is not Phase.ASK or asking.step in held.saga.must_be_answered


def service_of(held: Held, asking: Asking) -> str:
    """The service that is asked."""
    return owner_of(_command_class(held, asking))


def success_of(held: Held, asking: Asking) -> type[Reply]:
    """The answer that says yes: what skip supplies."""
    return next(reply for reply in _command_class(held, asking).replies() if not issubclass(reply, Refusal))


def names_of(sagas: Iterable[Saga[Any, Any]]) -> dict[str, list[str]]:
    """What there is of each: `saga`, names of definitions; `step`, what one of them may wait for, as `waits_for` names it."""
    names, steps, undos = {}, {}, {}
    for saga in sagas:
        names[saga.name] = True
        for step in saga.steps_by_name.values():
            steps[step.name] = True
            if step.undo is not None:
                undos[f"undo of {step.name}"] = True
    return {"saga": list(names), "step": [*steps, *undos, ABANDON_STEP]}


def _command_class(held: Held, asking: Asking) -> type[Command[Any]]:
    return Move(held.saga, held.instance, held.instance.progressed_at).command_class(asking)


def _looked(row: Row, definitions: Definitions) -> Looked:
    found = FoundSaga(**{name: row[name] for name in FoundSaga.__dataclass_fields__ if name != "rank"})
    try:
        held = held_from(row, found.tenant_id, definitions)
    except (UnknownDefinition, ValueError, LookupError) as error:
        # People must be able to look at what no release of today can move.
        return Looked(found, row["wake_at"], None, f"this release cannot read it: {error}")
    return Looked(found, row["wake_at"], held, None)
