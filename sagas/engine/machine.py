"""What a saga does next: pure decisions on an Instance. No I/O, no clock, no randomness; the same input is the same output.

    start ──> groups in sequence ──> pivot ──> COMPLETED
                 │ refusal, silence, fault       (asked until it is answered)
                 └──> undo the groups in reverse ──> abandon ──> ABANDONED

The first decision wins: once `why` is set, the saga only goes back. Every step that was asked is undone unless it refused,
because a missing answer may be a success that is still on its way.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Generic
from uuid import UUID

from contracts.messages import Command, Refusal, Reply, StepFaulted
from contracts.values import SagaId, TenantId
from sagas.engine.definition import E, OnFault, Saga, SoFar, Step, W
from sagas.engine.history import Entry, Kind
from sagas.engine.instance import ABANDON_STEP, Asking, Instance, Phase, State, Status, command_id
from sagas.engine.outlook import deadline_counts, state_of, wake_at
from sagas.engine.verify import command_of

DOUBLINGS_MAX: Final = 32
"""Where the backoff's exponent stops growing; the wait itself is bounded by `Saga.ask_again_max`."""


class ContradictingReply(Exception):
    """A step was answered with something that its command does not declare."""

    def __init__(self, instance: Instance[Any, Any], asking: Asking, reply: Reply) -> None:
        super().__init__(f"saga {instance.id}: {asking.phase} of {asking.step} cannot be answered with {type(reply).__name__}")
        self.instance, self.asking, self.reply = instance, asking, reply


@dataclass(frozen=True, slots=True)
class Ask:
    """A command to be sent. Asked again, it has the same id; `expires` ends the participant's own retries."""

    command_id: UUID
    step: str
    phase: Phase
    command: Command[Any]
    expires: datetime


@dataclass(frozen=True, slots=True)
class Moved(Generic[E, W]):
    """The instance as it is now, what it asks, and what is to be appended to its history. Nothing changed: no entries."""

    instance: Instance[E, W]
    asks: tuple[Ask, ...] = ()
    entries: tuple[Entry, ...] = ()


def start(saga: Saga[E, W], instance_id: SagaId, tenant_id: TenantId, order: E, now: datetime) -> Moved[E, W]:
    """Begin: ask the first group."""
    first: Instance[E, W] = Instance(
        id=instance_id, tenant_id=tenant_id, name=saga.name, version=saga.version, order=order, deadline=now + saga.deadline, revision=0
    )
    move = _Move(saga, first, now)
    move.note(Kind.STARTED)
    move.go_forward()
    return move.done()


def answered(saga: Saga[E, W], instance: Instance[E, W], command: UUID, reply: Reply, now: datetime) -> Moved[E, W]:
    """Take in the reply to one command. Duplicates and strangers change nothing; raises ContradictingReply."""
    asking = instance.asking_of(command)
    if asking is None or asking.is_settled:
        return Moved(instance)
    move = _Move(saga, instance, now)
    if isinstance(reply, StepFaulted):
        # Asked again, a participant may give the same command up again: that is nothing new.
        if isinstance(asking.reply, StepFaulted):
            return Moved(instance)
        move.take_fault(asking, reply)
    elif type(reply) not in move.command_class(asking).replies():
        raise ContradictingReply(instance, asking, reply)
    else:
        move.take_answer(asking, reply)
    return move.done()


def timed_out(saga: Saga[E, W], instance: Instance[E, W], now: datetime) -> Moved[E, W]:
    """Do whatever is due at `now`; nothing is, if `now` is before `wake_at`."""
    if instance.wake_at is None or now < instance.wake_at:
        return Moved(instance)
    move = _Move(saga, instance, now)
    if instance.state is State.PARKED:
        move.stop_parking()
    else:
        move.take_silence()
    return move.done()


class _Move(Generic[E, W]):
    """One move in the making: the instance so far, the commands to ask, the facts to record."""

    def __init__(self, saga: Saga[E, W], instance: Instance[E, W], now: datetime) -> None:
        self.saga, self.instance, self.now = saga, instance, now
        self.asks: list[Ask] = []
        self.entries: list[Entry] = []

    def note(self, kind: Kind, asking: Asking | None = None, detail: str = "", reply: Reply | None = None) -> None:
        if asking is None:
            self.entries.append(Entry(kind, self.now, detail=detail, reply=reply))
        else:
            self.entries.append(Entry(kind, self.now, asking.step, asking.phase, asking.attempts, detail, reply))

    def done(self) -> Moved[E, W]:
        before, state = self.instance.state, state_of(self.saga, self.instance)
        if state is not before and (state.is_final or state in (State.PARKED, State.NEEDS_ATTENTION)):
            self.note(Kind(state.value), detail="" if self.instance.why is None else self.instance.why.value)
        moved = self.instance.changed(state=state, revision=self.instance.revision + 1)
        return Moved(moved.changed(wake_at=wake_at(self.saga, moved)), tuple(self.asks), tuple(self.entries))

    # What came in

    def take_answer(self, asking: Asking, reply: Reply) -> None:
        late = asking.phase is Phase.ASK and self.instance.why is not None
        status = Status.REFUSED if isinstance(reply, Refusal) else Status.ANSWERED
        asking = self._change(asking, status=status, reply=reply, deadline=None)
        self.note(Kind.LATE if late else Kind(status.value), asking, type(reply).__name__, reply)
        if late:
            # Its undo was asked when the saga turned back: a late success is undone, a late refusal left nothing to undo.
            return
        if isinstance(reply, Refusal):
            self.go_back(self.saga.steps_by_name[asking.step].refusals[type(reply)])
        elif self.instance.why is None:
            self._resume_unless_faulted()
            self.go_forward()
        else:
            self.undo_next()

    def take_fault(self, asking: Asking, fault: StepFaulted) -> None:
        late = asking.phase is Phase.ASK and self.instance.why is not None
        asking = self._change(asking, status=Status.FAULTED, reply=fault, deadline=None)
        self.note(Kind.LATE if late else Kind.FAULTED, asking, fault.error, fault)
        if late or asking.phase is not Phase.ASK:
            return
        if self.saga.steps_by_name[asking.step].on_fault is OnFault.UNDO:
            self.go_back(self.saga.fault)
        elif self.instance.parked_at is None:
            self.instance = self.instance.changed(parked_at=self.now)

    def take_silence(self) -> None:
        due = [a for a in self.instance.askings if a.deadline is not None and a.deadline <= self.now]
        lost = [a for a in due if a.phase is Phase.ASK and a.step != self.saga.pivot.name]
        for asking in lost:
            self.note(Kind.SILENT, self._change(asking, status=Status.SILENT, deadline=None))
        for asking in due:
            if asking not in lost:
                self._ask_again(asking)
        if deadline_counts(self.saga, self.instance) and self.instance.deadline <= self.now:
            self.note(Kind.OVERDUE)
            self.go_back(self.saga.no_answer)
        elif lost:
            self.go_back(self.saga.no_answer)

    def stop_parking(self) -> None:
        """Nobody has mended it in time. The pivot may have taken effect, so it is never undone: people must look."""
        pivot = self.instance.asking(Phase.ASK, self.saga.pivot.name)
        self.instance = self.instance.changed(parked_at=None)
        if pivot is None:
            self.go_back(self.saga.fault)

    # What to do next

    def go_forward(self) -> None:
        """Ask the next group once the one before has answered, and the pivot after the last."""
        for group in (*self.saga.groups, (self.saga.pivot,)):
            askings = [self.instance.asking(Phase.ASK, step.name) for step in group]
            if None in askings:
                for step in group:
                    self._ask(Phase.ASK, step.name, step.within)
                return
            if any(asking.status is not Status.ANSWERED for asking in askings if asking):
                return

    def go_back(self, why: W) -> None:
        """Turn back, for good: whatever is still unanswered is no longer waited for."""
        self.instance = self.instance.changed(why=why, parked_at=None)
        for asking in self.instance.askings:
            self._change(asking, deadline=None)
        self.note(Kind.COMPENSATING, detail=why.value)
        self.undo_next()

    def undo_next(self) -> None:
        """Undo the last group that is not undone yet, all its steps at once; abandon when none is left."""
        for group in reversed(self.saga.groups):
            missing = [step for step in reversed(group) if self._must_be_undone(step)]
            for step in missing:
                self._ask(Phase.UNDO, step.name, step.within)
            undos = [self.instance.asking(Phase.UNDO, step.name) for step in group]
            if any(undo.status is not Status.ANSWERED for undo in undos if undo):
                return
        if self.instance.asking(Phase.ABANDON, ABANDON_STEP) is None:
            self._ask(Phase.ABANDON, ABANDON_STEP, self.saga.abandon_within)

    def _must_be_undone(self, step: Step[E, W]) -> bool:
        asked = self.instance.asking(Phase.ASK, step.name)
        undone = self.instance.asking(Phase.UNDO, step.name)
        return asked is not None and asked.status is not Status.REFUSED and undone is None

    def _resume_unless_faulted(self) -> None:
        """Parked time does not count: what is still unanswered, and the saga itself, get their time anew."""
        parked_at = self.instance.parked_at
        if parked_at is None or any(a.status is Status.FAULTED for a in self.instance.askings):
            return
        self.instance = self.instance.changed(parked_at=None, deadline=self.instance.deadline + (self.now - parked_at))
        self.note(Kind.RESUMED)
        for asking in self.instance.askings:
            if asking.status is Status.WAITING:
                self._change(asking, deadline=self.now + self.saga.steps_by_name[asking.step].within)

    # Asking

    def _ask(self, phase: Phase, step: str, within: timedelta) -> None:
        asking = Asking(phase, step, asked_at=self.now, deadline=self.now + within)
        self.instance = self.instance.with_asking(asking)
        self._send(asking, Kind.ASKED)

    def _ask_again(self, asking: Asking) -> None:
        """Silence of what must be answered: the same command again, with growing waits, as long as that may help."""
        if asking.phase is not Phase.ASK and self.now - asking.asked_at >= self.saga.undo_silence_max:
            self.note(Kind.SILENT, self._change(asking, status=Status.SILENT, deadline=None))
            return
        within = self.saga.abandon_within if asking.phase is Phase.ABANDON else self.saga.steps_by_name[asking.step].within
        wait = min(within * 2 ** min(asking.attempts, DOUBLINGS_MAX), max(within, self.saga.ask_again_max))
        self._send(self._change(asking, attempts=asking.attempts + 1, deadline=self.now + wait), Kind.ASKED_AGAIN)

    def _send(self, asking: Asking, kind: Kind) -> None:
        may_go_unanswered = asking.phase is Phase.ASK and asking.step != self.saga.pivot.name
        expires = asking.deadline if may_go_unanswered and asking.deadline else self.now + self.saga.undo_silence_max
        command = self._command(asking)
        message_id = command_id(self.instance.id, asking.phase, asking.step, asking.round)
        self.asks.append(Ask(message_id, asking.step, asking.phase, command, expires))
        self.note(kind, asking, type(command).__name__)

    def _change(self, asking: Asking, **changes: Any) -> Asking:
        changed = replace(asking, **changes)
        self.instance = self.instance.with_asking(changed)
        return changed

    def _command(self, asking: Asking) -> Command[Any]:
        if asking.phase is Phase.ABANDON:
            assert self.instance.why is not None
            return self.saga.abandon(self.instance.order, self.instance.why)
        return self._step_builds(asking)(self.instance.order, self.instance.so_far)

    def command_class(self, asking: Asking) -> type[Command[Any]]:
        return command_of(self.saga.abandon if asking.phase is Phase.ABANDON else self._step_builds(asking))

    def _step_builds(self, asking: Asking) -> Callable[[E, SoFar], Command[Any]]:
        step = self.saga.steps_by_name[asking.step]
        build = step.ask if asking.phase is Phase.ASK else step.undo
        assert build is not None  # verify() has seen to it
        return build
