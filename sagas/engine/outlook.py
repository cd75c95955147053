"""Where a saga stands and when it next has something to do, read off what was asked and answered."""

from datetime import datetime
from typing import Any

from sagas.engine.definition import Saga
from sagas.engine.instance import ABANDON_STEP, Instance, Phase, State, Status


def state_of(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> State:
    """The state that follows from the askings, `why` and `parked_at`."""
    if instance.why is None:
        return _state_forward(saga, instance)
    abandoning = instance.asking(Phase.ABANDON, ABANDON_STEP)
    if abandoning and abandoning.status is Status.ANSWERED:
        return State.ABANDONED
    going_back = [asking for asking in instance.askings if asking.phase is not Phase.ASK]
    if any(asking.status in (Status.FAULTED, Status.SILENT) for asking in going_back):
        return State.NEEDS_ATTENTION
    return State.ABANDONING if abandoning else State.COMPENSATING


def wake_at(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> datetime | None:
    """The earliest deadline that counts. A parked saga's deadlines do not count, but its parking ends."""
    if instance.state.is_final:
        return None
    if instance.parked_at is not None:
        return instance.parked_at + saga.park_at_most
    deadlines = [asking.deadline for asking in instance.askings if asking.deadline is not None]
    if deadline_counts(saga, instance):
        deadlines.append(instance.deadline)
    return min(deadlines, default=None)


def deadline_counts(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> bool:
    """Whether the saga's own deadline still means something: not after the pivot was asked, not on the way back."""
    return instance.why is None and instance.asking(Phase.ASK, saga.pivot.name) is None


def _state_forward(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> State:
    pivot = instance.asking(Phase.ASK, saga.pivot.name)
    if pivot and pivot.status is Status.ANSWERED:
        return State.COMPLETED
    if any(asking.status is Status.FAULTED for asking in instance.askings):
        # Only a faulted pivot outlives its parking: nothing else is left without a decision.
        return State.PARKED if instance.parked_at is not None else State.NEEDS_ATTENTION
    return State.RUNNING
