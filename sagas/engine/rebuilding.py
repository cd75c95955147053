"""The instance as its history tells it: the facts that came from outside, given to the machine once more."""

from collections.abc import Iterable
from typing import Final

from contracts.values import SagaId, TenantId
from sagas.engine import machine
from sagas.engine.definition import E, Saga, W
from sagas.engine.history import Entry, Kind
from sagas.engine.instance import ABANDON_STEP, Instance, Phase, State, command_id

_TIME_PASSED: Final = (Kind.SILENT, Kind.ASKED_AGAIN, Kind.OVERDUE)
_PARKING_ENDED: Final = (Kind.COMPENSATING, Kind.NEEDS_ATTENTION)


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
    if fact.reply is not None:
        assert fact.phase is not None
        command = command_id(instance.id, fact.phase, fact.step or ABANDON_STEP, _round(instance, fact.phase, fact.step))
        return machine.answered(saga, instance, command, fact.reply, fact.at).instance
    parking_ended = instance.state is State.PARKED and fact.kind in _PARKING_ENDED
    if fact.kind in _TIME_PASSED or parking_ended:
        return machine.timed_out(saga, instance, fact.at).instance
    return instance


def _round(instance: Instance[E, W], phase: Phase, step: str | None) -> int:
    asking = instance.asking(phase, step or ABANDON_STEP)
    return asking.round if asking else 1
