"""Where a saga stands and when it next has something to do, read off what was asked and answered."""

from datetime import datetime
from typing import Any

from contracts.messages import StepFaulted
from sagas.engine.definition import Saga
from sagas.engine.instance import ABANDON_STEP, Asking, Instance, Phase, State, Status


def state_of(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> State:
    """The state that follows from the askings, `why`, and who holds it."""
    if (end := _end_of(saga, instance)) is not None:
        return end
    if instance.paused_at is not None:
        return State.PAUSED
    if instance.is_disputed:
        return State.NEEDS_ATTENTION
    return _state_forward(saga, instance) if instance.why is None else _state_back(instance)


def wake_at(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> datetime | None:
    """The earliest deadline that counts. A parked saga's deadlines do not count, but its parking ends; a held one has none."""
    if instance.state.is_final or instance.is_held:
        return None
    if instance.parked_at is not None:
        return instance.parked_at + saga.park_at_most
    deadlines = [asking.deadline for asking in instance.askings if asking.deadline is not None]
    if deadline_counts(saga, instance):
        deadlines.append(instance.deadline)
    return min(deadlines, default=None)


def stuck_at(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> datetime | None:
    """From when on no progress means that somebody should look; None for a final saga."""
    return None if instance.state.is_final else instance.progressed_at + saga.deadline


def is_past_return(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> bool:
    """Whether it can only go forward: once the pivot was asked, nobody knows that it did not take effect."""
    if instance.why is not None:
        return False
    return any(a.step in saga.must_be_answered for a in instance.askings if a.phase is Phase.ASK)


def must_be_undone(instance: Instance[Any, Any], step: str) -> bool:
    """Whether the step may have taken effect and its undo was not asked for."""
    asked = instance.asking(Phase.ASK, step)
    return asked is not None and asked.may_have_taken_effect and instance.asking(Phase.UNDO, step) is None


def deadline_counts(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> bool:
    """Whether the saga's own deadline still means something: not past the point of no return, not on the way back."""
    return instance.why is None and not is_past_return(saga, instance)


def waits_for(instance: Instance[Any, Any]) -> str | None:
    """The steps that are still to be answered, as `a, undo of b`; None if nothing is."""
    if instance.state.is_final:
        return None
    return ", ".join(name_of(asking) for asking in instance.outstanding) or None


def name_of(asking: Asking) -> str:
    """What was asked, as people call it: the step, its undo, or `abandon`."""
    return f"undo of {asking.step}" if asking.phase is Phase.UNDO else asking.step


def fingerprint_of(instance: Instance[Any, Any]) -> str | None:
    """Of the first fault that is still in the way; None if there is none."""
    if instance.state.is_final:
        return None
    faults = (asking.reply for asking in instance.outstanding if asking.status is Status.FAULTED)
    return next((reply.fingerprint for reply in faults if isinstance(reply, StepFaulted)), None)


def _end_of(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> State | None:
    if instance.why is not None:
        abandoning = instance.asking(Phase.ABANDON, ABANDON_STEP)
        undone = not any(must_be_undone(instance, step.name) for group in saga.groups for step in group)
        return State.ABANDONED if abandoning and undone and not instance.outstanding and not instance.is_disputed else None
    done = sum(a.status is Status.ANSWERED for a in instance.askings) + len(instance.not_needed)
    return State.COMPLETED if done == len(saga.steps_by_name) and not instance.is_disputed else None


def _state_forward(saga: Saga[Any, Any], instance: Instance[Any, Any]) -> State:
    if any(asking.status is Status.FAULTED for asking in instance.askings):
        # Only what cannot be undone outlives its parking: nothing else is left without a decision.
        return State.PARKED if instance.parked_at is not None else State.NEEDS_ATTENTION
    pivot = instance.asking(Phase.ASK, saga.pivot.name) if saga.pivot else None
    past = pivot.status is Status.ANSWERED if pivot else not saga.groups
    return State.COMPLETING if past else State.RUNNING


def _state_back(instance: Instance[Any, Any]) -> State:
    going_back = [asking for asking in instance.askings if asking.phase is not Phase.ASK]
    if any(asking.status in (Status.FAULTED, Status.SILENT) for asking in going_back):
        return State.NEEDS_ATTENTION
    return State.ABANDONING if instance.asking(Phase.ABANDON, ABANDON_STEP) else State.COMPENSATING
