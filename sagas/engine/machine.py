"""What a saga does next: pure decisions on an Instance. No I/O, no clock, no randomness; the same input is the same output.

    start ──> groups in sequence ──> pivot ──> then ──> COMPLETED
                 │ refusal, silence, fault       (asked until they are answered)
                 └──> undo the groups in reverse ──> abandon ──> ABANDONED

The first decision wins: once `why` is set, the saga only goes back. Every step that was asked is undone unless it refused,
because a missing answer may be a success that is still on its way. What operators do is in verbs.py.
"""

from datetime import datetime
from uuid import UUID

from contracts.messages import Refusal, Reply, StepFaulted
from contracts.values import SagaId, TenantId
from sagas.engine.definition import E, Saga, W
from sagas.engine.history import Kind
from sagas.engine.instance import Asking, Instance, State, Status
from sagas.engine.moving import Ask, Move, Moved
from sagas.engine.verify import verify

__all__ = ["Ask", "Moved", "answered", "start", "timed_out"]


def start(saga: Saga[E, W], instance_id: SagaId, tenant_id: TenantId, order: E, now: datetime) -> Moved[E, W]:
    """Begin: ask the first group. Raises UnsoundSaga for what `verify` refuses."""
    verify(saga)
    first: Instance[E, W] = Instance(
        id=instance_id,
        tenant_id=tenant_id,
        name=saga.name,
        version=saga.version,
        order=order,
        deadline=now + saga.deadline,
        progressed_at=now,
        revision=0,
    )
    move = Move(saga, first, now)
    move.note(Kind.STARTED)
    move.advance()
    return move.done()


def answered(saga: Saga[E, W], instance: Instance[E, W], command: UUID, reply: Reply, now: datetime) -> Moved[E, W]:
    """Take in the reply to one command. Duplicates and strangers change nothing; what cannot be asks for attention."""
    found = instance.asking_of(command)
    if found is None:
        return Moved(instance)
    asking, round_ = found
    is_over = asking.is_settled or round_ < asking.round
    move = Move(saga, instance, now)
    if isinstance(reply, StepFaulted):
        # Asked again, a participant may give the same command up again: that is nothing new.
        if is_over or asking.status in (Status.FAULTED, Status.RETRYING):
            return Moved(instance)
        move.take_fault(asking, reply)
    elif type(reply) not in move.command_class(asking).replies() or (is_over and _contradicts(asking, round_, reply)):
        # Of an asking that is contradicted already it is nothing new, unless it was asked anew since and says nonsense again.
        if asking.contradicted and (round_ < asking.round or instance.state.is_final or asking.disputed):
            return Moved(instance)
        if asking.supplied and not _denies(instance, reply):
            move.note(Kind.OVERTAKEN, asking, type(reply).__name__, reply)
        else:
            move.take_contradiction(asking, reply)
    elif is_over:
        return Moved(instance)
    else:
        move.take_answer(asking, reply)
    return move.done()


def timed_out(saga: Saga[E, W], instance: Instance[E, W], now: datetime) -> Moved[E, W]:
    """Do whatever is due at `now`; nothing is, if `now` is before `wake_at`."""
    if instance.wake_at is None or now < instance.wake_at:
        return Moved(instance)
    move = Move(saga, instance, now)
    if instance.state is State.PARKED:
        move.stop_parking()
    else:
        move.take_silence()
    return move.done()


def _contradicts(asking: Asking, round_: int, reply: Reply) -> bool:
    """Whether a participant that had answered for good says something else: each command has one answer, a retried one a refusal."""
    return not isinstance(reply, Refusal) if round_ < asking.round else reply != asking.reply


def _denies(instance: Instance[E, W], reply: Reply) -> bool:
    """An operator has said that it is done, and the saga went on because of it; the participant says that it never will be."""
    return isinstance(reply, Refusal) and instance.why is None
