"""An operator's verb, done: the saga locked, its revision compared, the verb decided, saved and asked, and the attempt recorded.

Everything about one saga is in one transaction of its tenant. Every attempt goes to `operator_audit`, which nobody can change: done,
refused, come too late because the saga had moved, or failed.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from contracts.values import SagaId, TenantId
from infra.consumer import attempted
from infra.identifiers import uuid7
from infra.retry import Ending, ending_of
from infra.telemetry import current_traceparent
from infra.transaction import Scope, Transactions
from sagas.engine import instances, verbs
from sagas.engine.coordinator import Coordinator, Group
from sagas.engine.held import Held
from sagas.engine.machine import Moved
from sagas.engine.verbs import IllegalVerb, Verb, WrongAnswer, why_not

_log: Final = logging.getLogger(__name__)
_AUDIT: Final = """
    INSERT INTO sagas.operator_audit (tenant_id, id, at, actor, verb, reason, saga_id, revision, outcome, detail)
    SELECT $1, id, $2, $3, $4, $5, saga_id, revision, outcome, detail
    FROM unnest($6::uuid[], $7::uuid[], $8::bigint[], $9::text[], $10::text[]) AS given (id, saga_id, revision, outcome, detail)"""
_DETAIL_CHARACTERS_MAX: Final = 500


class Result(StrEnum):
    """What came of an attempt."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    MOVED = "MOVED"
    """The saga had moved since it was looked at."""
    FAILED = "FAILED"
    """It could not be read or written: another release's, or damaged."""


@dataclass(frozen=True)
class Act:
    """What an operator wants done, and why. `step` and `answer` are for skip."""

    verb: Verb
    actor: str
    reason: str
    step: str | None = None
    answer: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of it for one saga; `revision` is the saga's before it, None if it could not be read."""

    saga_id: SagaId
    result: Result
    detail: str = ""
    revision: int | None = None
    error: Exception | None = None


class Operating:
    """Acts on the sagas of one tenant at a time."""

    def __init__(self, transaction: Transactions, coordinator: Coordinator) -> None:
        self._transaction = transaction
        self._coordinator = coordinator

    async def act(self, tenant_id: TenantId, revisions: Mapping[SagaId, int], act: Act) -> list[Outcome]:
        """Do it to each saga that is still at its revision; one that fails harms no other. Raises what is an outage."""
        outcomes: list[Outcome] = []

        async def together() -> None:
            async with self._transaction(tenant_id) as scope:
                outcomes.extend(await self._act(scope, revisions, act))

        error = await attempted(together())
        if error is None:
            return outcomes
        if ending_of(error) is Ending.OUTAGE:
            raise error
        if len(revisions) == 1:
            return [await self._failed(tenant_id, next(iter(revisions)), act, error)]
        return [outcome for id in sorted(revisions) for outcome in await self.act(tenant_id, {id: revisions[id]}, act)]

    async def _act(self, scope: Scope, revisions: Mapping[SagaId, int], act: Act) -> list[Outcome]:
        held = await instances.lock(scope.connection, scope.tenant_id, sorted(revisions), self._coordinator.sagas)
        outcomes = [_decided(held[id], revisions[id], act, scope.now) for id in held]
        await self._coordinator.save(scope, Group(scope.tenant_id, scope.now, held))
        await _record(scope, act, outcomes)
        return outcomes

    async def _failed(self, tenant_id: TenantId, id: SagaId, act: Act, error: Exception) -> Outcome:
        _log.error("an operator's act failed", exc_info=error, extra={"saga": id, "verb": act.verb, "actor": act.actor})
        outcome = Outcome(id, Result.FAILED, f"{type(error).__name__}: {error}"[:_DETAIL_CHARACTERS_MAX], error=error)
        async with self._transaction(tenant_id) as scope:
            await _record(scope, act, [outcome])
        return outcome


def _decided(held: Held, revision: int, act: Act, now: datetime) -> Outcome:
    """Move the saga, or say why not."""
    instance = held.instance
    if instance.revision != revision:
        detail = f"it has moved on: it is at revision {instance.revision} now, not {revision}, and {instance.state}; look at it again"
        return Outcome(instance.id, Result.MOVED, detail, instance.revision)
    try:
        held.move(_moved(held, act, now), current_traceparent())
    except IllegalVerb as error:
        legal = [verb.value for verb, why in why_not(held.saga, instance).items() if why is None]
        detail = f"{error}; legal now: {', '.join(legal) or 'nothing, its way has ended'}"
        return Outcome(instance.id, Result.REFUSED, detail, instance.revision, error)
    except WrongAnswer as error:
        return Outcome(instance.id, Result.REFUSED, str(error)[:_DETAIL_CHARACTERS_MAX], instance.revision, error)
    return Outcome(instance.id, Result.DONE, f"{instance.state} -> {held.instance.state}", instance.revision)


def _moved(held: Held, act: Act, now: datetime) -> Moved[Any, Any]:
    given = (held.saga, held.instance, now, act.actor, act.reason)
    match act.verb:
        case Verb.RETRY:
            return verbs.retry(*given)
        case Verb.SKIP:
            return verbs.skip(*given, act.step, act.answer)
        case Verb.CANCEL:
            return verbs.cancel(*given)
        case Verb.PAUSE:
            return verbs.pause(*given)
        case Verb.RESUME:
            return verbs.resume(*given)


async def _record(scope: Scope, act: Act, outcomes: Sequence[Outcome]) -> None:
    await scope.connection.execute(
        _AUDIT,
        scope.tenant_id,
        scope.now,
        act.actor,
        act.verb.value,
        act.reason,
        [uuid7(scope.now) for _ in outcomes],
        [outcome.saga_id for outcome in outcomes],
        [outcome.revision for outcome in outcomes],
        [outcome.result.value for outcome in outcomes],
        [outcome.detail for outcome in outcomes],
    )
