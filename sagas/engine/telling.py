"""What the coordinator tells everybody of a saga: that it waits for people, that it goes on, that it has ended."""

from typing import Any, Final

from contracts.messages import Event
from contracts.sagas import SagaEnded, SagaHalted, SagaResumed
from infra.transaction import Scope
from sagas.engine.held import Held
from sagas.engine.instance import Instance, State
from sagas.engine.outlook import fingerprint_of, waits_for

_HALTED: Final = (State.PARKED, State.NEEDS_ATTENTION, State.PAUSED)


def tell(scope: Scope, held: Held) -> None:
    """Send the event of this move, if it made a difference; in the transaction that saves it."""
    event = event_of(held)
    if event is not None:
        instance = held.instance
        traceparent = held.entries[-1][1]
        scope.send(event, subject=held.subject, sagaid=instance.id, sequence=instance.revision, traceparent=traceparent)


def event_of(held: Held) -> Event | None:
    """What is to be told of this move; None if it made no difference to people."""
    instance, was = held.instance, held.before and held.before.state
    if instance.state is was and (instance.state not in _HALTED or _reason(instance) == _reason(held.before)):
        return None
    about = {"saga": instance.name, "version": instance.version, "state": instance.state.value}
    if instance.state.is_final:
        return SagaEnded(**about, why=instance.why)
    if instance.state in _HALTED:
        return SagaHalted(**about, step=waits_for(instance), fingerprint=fingerprint_of(instance))
    return SagaResumed(**about) if was in _HALTED else None


def _reason(instance: Instance[Any, Any] | None) -> tuple[str | None, str | None] | None:
    """For what it waits and why: that may be another although the state is the same, when several moves fold into one."""
    return None if instance is None else (waits_for(instance), fingerprint_of(instance))
