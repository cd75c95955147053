"""The instance as its history tells it: the facts that came from outside, given to the machine once more."""

from collections.abc import Iterable
from typing import Final

from contracts.values import SagaId, TenantId
from sagas.engine import machine, verbs
from sagas.engine.definition import E, Saga, W
from sagas.engine.history import Entry, Kind
from sagas.engine.instance import Asking, Instance, State, command_id
from sagas.engine.moving import Move
from sagas.engine.outlook import name_of

_TIME_PASSED: Final = (Kind.SILENT, Kind.ASKED_AGAIN, Kind.TRY_LATER, Kind.OVERDUE)
_PARKING_ENDED: Final = (Kind.COMPENSATING, Kind.NEEDS_ATTENTION)
_VERBS: Final = {
    Kind.RETRIED: verbs.retry,
    Kind.CANCELLED: verbs.cancel,
    Kind.PAUSED: verbs.pause,
    Kind.UNPAUSED: verbs.resume,
}


class HistoryWithoutStart(ValueError):
    """A history's first fact is that the saga started."""


def rebuilt(saga: Saga[E, W], saga_id: SagaId, tenant_id: TenantId, order: E, history: Iterable[Entry]) -> Instance[E, W]:
    """The instance after these facts, told from the first on; raises HistoryWithoutStart."""
    facts = iter(history)
    first = next(facts, None)
    if first is None or first.kind is not Kind.STARTED:
        raise HistoryWithoutStart(HistoryWithoutStart.__doc__)
    instance = machine.start(saga, saga_id, tenant_id, order, first.at).instance
    for fact in facts:
        instance = _after(saga, instance, fact)
    return instance


def _after(saga: Saga[E, W], instance: Instance[E, W], fact: Entry) -> Instance[E, W]:
    """Facts that the machine concluded itself follow from the others and are passed over."""
    if fact.actor is not None:
        return _acted(saga, instance, fact, fact.actor)
    if fact.reply is not None:
        if fact.kind is Kind.CONTRADICTED:
            move = Move(saga, instance, fact.at)
            move.take_contradiction(_asking(instance, fact), fact.reply)
            return move.done().instance
        asking = _asking(instance, fact)
        command = command_id(instance.id, asking.phase, asking.step, asking.round)
        return machine.answered(saga, instance, command, fact.reply, fact.at).instance
    parking_ended = instance.state is State.PARKED and fact.kind in _PARKING_ENDED
    if fact.kind in _TIME_PASSED or parking_ended:
        return machine.timed_out(saga, instance, fact.at).instance
    return instance


def _acted(saga: Saga[E, W], instance: Instance[E, W], fact: Entry, actor: str) -> Instance[E, W]:
    """What an operator did; what followed from it carries the operator's name too, and is passed over."""
    reason = fact.reason or ""
    if fact.kind is Kind.SKIPPED:
        assert fact.reply is not None
        step = name_of(_asking(instance, fact))
        return verbs.skip(saga, instance, fact.at, actor, reason, step, fact.reply.model_dump()).instance
    verb = _VERBS.get(fact.kind)
    return instance if verb is None else verb(saga, instance, fact.at, actor, reason).instance


def _asking(instance: Instance[E, W], fact: Entry) -> Asking:
    return next(a for a in instance.askings if (a.phase, a.step) == (fact.phase, fact.step))
