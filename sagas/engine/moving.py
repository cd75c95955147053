"""One move of a saga in the making: what came in, what follows from it, what is asked, what is recorded.

`machine` and `verbs` begin a move; this is the part they share. What follows is read off the askings each time (`advance`), so a
saga that an operator has held meanwhile goes on just as if the answers had come when it was let go.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic
from uuid import UUID

from contracts.messages import Command, Refusal, Reply, StepFaulted
from sagas.engine.definition import E, OnFault, Saga, SoFar, Step, W
from sagas.engine.history import Entry, Kind
from sagas.engine.instance import ABANDON_STEP, Asking, Instance, Phase, State, Status, command_id
from sagas.engine.naming import command_of
from sagas.engine.outlook import deadline_counts, is_past_return, must_be_undone, state_of, wake_at
from sagas.engine.pauses import pause_before_retry, wait_for_answer


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


class Move(Generic[E, W]):
    """The instance so far, the commands to ask, the facts to record. `actor` is the operator who moves it, if one does."""

    def __init__(self, saga: Saga[E, W], instance: Instance[E, W], now: datetime, actor: str | None = None) -> None:
        self.saga, self.instance, self.now, self.actor = saga, instance, now, actor
        self.asks: list[Ask] = []
        self.entries: list[Entry] = []

    def note(self, kind: Kind, asking: Asking | None = None, detail: str = "", reply: Reply | None = None, **more: Any) -> None:
        step, phase, attempt = (asking.step, asking.phase, asking.attempts) if asking else (None, None, None)
        self.entries.append(Entry(kind, self.now, step, phase, attempt, detail, reply, self.actor, **more))

    def done(self) -> Moved[E, W]:
        before = self.instance.state
        # What has ended stays so, whatever is learnt about it afterwards.
        state = before if before.is_final else state_of(self.saga, self.instance)
        if state is not before and (state.is_final or state in (State.PARKED, State.NEEDS_ATTENTION)):
            self.note(Kind(state.value), detail="" if self.instance.why is None else self.instance.why.value)
        moved = self.instance.changed(state=state, revision=self.instance.revision + 1)
        return Moved(moved.changed(wake_at=wake_at(self.saga, moved)), tuple(self.asks), tuple(self.entries))

    def progressed(self) -> None:
        self.instance = self.instance.changed(progressed_at=self.now)

    def change(self, asking: Asking, **changes: Any) -> Asking:
        changed = asking.changed(**changes)
        self.instance = self.instance.with_asking(changed)
        return changed

    # What came in

    def take_answer(self, asking: Asking, reply: Reply, kind: Kind | None = None, **more: Any) -> None:
        """Settle the asking, or let it be tried again if its step's policy says that the refusal is worth it."""
        self.progressed()
        if self.is_late(asking):
            # Its undo was asked when the saga turned back: a late success is undone, a late refusal left nothing to undo.
            self.note(Kind.LATE, self._settled(asking, reply), type(reply).__name__, reply)
            return
        if self._is_worth_another_try(asking, reply):
            self._try_later(asking.changed(round=asking.round + 1, reply=reply), reply)
        else:
            asking = self._settled(asking, reply)
            self.note(kind or Kind(asking.status.value), asking, type(reply).__name__, reply, **more)
        self.resume_unless_faulted()
        self.advance()

    def take_fault(self, asking: Asking, fault: StepFaulted) -> None:
        self.progressed()
        if self._is_worth_another_try(asking, fault) and not self.is_late(asking):
            self._try_later(asking, fault)
            return
        asking = self.change(asking, status=Status.FAULTED, reply=fault, deadline=None)
        self.note(Kind.LATE if self.is_late(asking) else Kind.FAULTED, asking, fault.error, fault)
        if asking.phase is not Phase.ASK or self.is_late(asking):
            return
        if self.saga.steps_by_name[asking.step].on_fault is OnFault.PARK and self.instance.parked_at is None:
            self.instance = self.instance.changed(parked_at=self.standing)
        self.advance()

    def take_contradiction(self, asking: Asking, reply: Reply) -> None:
        """An answer that cannot be: nobody but a person can say what is true. A saga that has ended only takes note."""
        asking = self.change(asking, contradicted=True, disputed=not self.instance.state.is_final)
        self.note(Kind.CONTRADICTED, asking, type(reply).__name__, reply)
        if asking.disputed:
            self.hold()

    def take_silence(self) -> None:
        """Whatever is due: a pause is over, a try is lost, or the last one was."""
        for asking in [a for a in self.instance.askings if a.deadline is not None and a.deadline <= self.now]:
            if asking.status is Status.RETRYING:
                self.ask_again(asking)
            elif asking.phase is not Phase.ASK or asking.step in self.saga.must_be_answered:
                self._insist(asking)
            elif asking.attempts < self.saga.steps_by_name[asking.step].retry.attempts:
                self._try_later(asking, None)
            else:
                self.note(Kind.SILENT, self.change(asking, status=Status.SILENT, deadline=None))
        if deadline_counts(self.saga, self.instance) and self.instance.deadline <= self.now:
            self.note(Kind.OVERDUE)
            self.go_back(self.saga.no_answer)
        else:
            self.advance()

    def stop_parking(self) -> None:
        """Nobody has mended it in time. What is past the point of no return is never undone: people must look."""
        self.instance = self.instance.changed(parked_at=None)
        if not is_past_return(self.saga, self.instance):
            self.go_back(self.saga.fault)

    # What follows

    def advance(self) -> None:
        """Turn back if an answer says so, else ask what is next, in whichever direction; nothing while somebody holds the saga."""
        if self.instance.is_held:
            return
        if self.instance.why is not None:
            self._undo_next()
        elif (turning := self._turning()) is not None:
            self.go_back(turning)
        else:
            self._go_forward()

    def go_back(self, why: W | None) -> None:
        """Turn back, for good: whatever is still unanswered is no longer waited for."""
        assert why is not None  # verify() has seen to it
        self.instance = self.instance.changed(why=why, parked_at=None, paused_at=None, held_at=None)
        for asking in self.instance.askings:
            status = asking.status if asking.is_settled or asking.may_have_taken_effect else Status.REFUSED
            self.change(asking, deadline=None, status=status, disputed=False)
        self.note(Kind.COMPENSATING, detail=why.value)
        self._undo_next()

    def resume_unless_faulted(self) -> None:
        """Parked time does not count: what is still unanswered, and the saga itself, get their time anew."""
        parked_at = self.instance.parked_at
        if parked_at is None or any(a.status is Status.FAULTED for a in self.instance.askings):
            return
        self.instance = self.instance.changed(parked_at=None, deadline=self.instance.deadline + (self.standing - parked_at))
        self.note(Kind.RESUMED)
        for asking in self.instance.outstanding:
            if asking.status is Status.WAITING:
                self.change(asking, deadline=self.standing + self._within(asking))

    @property
    def standing(self) -> datetime:
        """What time it is for the saga: while somebody holds it, its time stands still."""
        return self.instance.held_at or self.now

    def hold(self) -> None:
        """Take note of answers only, from now on."""
        self.instance = self.instance.changed(held_at=self.standing)

    def let_go(self) -> None:
        """Go on with the time that was left, unless there is another reason to hold it still."""
        if self.instance.held_at is None or self.instance.paused_at is not None or self.instance.is_disputed:
            return
        lost, parked_at = self.now - self.instance.held_at, self.instance.parked_at
        parked_at = None if parked_at is None else parked_at + lost
        self.instance = self.instance.changed(held_at=None, parked_at=parked_at, deadline=self.instance.deadline + lost)
        for asking in self.instance.askings:
            if not asking.is_settled:
                deadline = None if asking.deadline is None else asking.deadline + lost
                self.change(asking, deadline=deadline, asked_at=asking.asked_at + lost)

    def is_late(self, asking: Asking) -> bool:
        return asking.phase is Phase.ASK and self.instance.why is not None

    def _turning(self) -> W | None:
        """Why to turn back, if any step so far says so."""
        for asking in self.instance.askings:
            step = self.saga.steps_by_name[asking.step]
            if asking.status is Status.REFUSED:
                return step.refusals[type(asking.reply)]  # type: ignore[index]  # a refused asking has its refusal
            if asking.status is Status.SILENT:
                return step.no_answer or self.saga.no_answer
            if asking.status is Status.FAULTED and step.on_fault is OnFault.UNDO:
                return self.saga.fault
        return None

    def _go_forward(self) -> None:
        """Ask the next group once the one before has answered; one that nobody needs is passed over."""
        turn = len(self.instance.askings) + len(self.instance.not_needed)
        for group in self.saga.forward:
            if turn <= 0:
                self._ask_what_is_needed(group)
            turn -= len(group)
            askings = (self.instance.asking(Phase.ASK, step.name) for step in group)
            if any(not asking.is_settled for asking in askings if asking):
                return

    def _undo_next(self) -> None:
        """Undo the last group that is not undone yet, all its steps at once; abandon when none is left."""
        for group in reversed(self.saga.groups):
            for step in reversed(group):
                if must_be_undone(self.instance, step.name):
                    self._ask(Phase.UNDO, step.name)
            undos = [self.instance.asking(Phase.UNDO, step.name) for step in group]
            if any(not undo.is_settled for undo in undos if undo):
                return
        if self.instance.asking(Phase.ABANDON, ABANDON_STEP) is None:
            self._ask(Phase.ABANDON, ABANDON_STEP)

    def _is_worth_another_try(self, asking: Asking, reply: Reply) -> bool:
        if asking.phase is not Phase.ASK or asking.supplied:
            return False
        retry = self.saga.steps_by_name[asking.step].retry
        return isinstance(reply, retry.on) and asking.attempts < retry.attempts

    def _settled(self, asking: Asking, reply: Reply) -> Asking:
        status = Status.REFUSED if isinstance(reply, Refusal) else Status.ANSWERED
        return self.change(asking, status=status, reply=reply, deadline=None)

    # Asking

    def ask_again(self, asking: Asking, wait: timedelta | None = None) -> None:
        """The same command again, or the next round's; it has `wait` to be answered in, by default what its step says."""
        deadline = self.now + (wait or self._within(asking))
        changed = self.change(asking, status=Status.WAITING, attempts=asking.attempts + 1, deadline=deadline, reply=None)
        self._send(changed, Kind.ASKED_AGAIN)

    def _ask_what_is_needed(self, group: tuple[Step[E, W], ...]) -> None:
        before = self.instance
        for step in group:
            if step.when is None or step.when(before.order, before.so_far):
                self._ask(Phase.ASK, step.name)
            else:
                # No fact of the history: it follows from the order, and most orders need few of the steps that any may need.
                self.instance = self.instance.changed(not_needed=(*self.instance.not_needed, step.name))

    def _ask(self, phase: Phase, step: str) -> None:
        asking = Asking(phase, step, asked_at=self.now, deadline=None)
        asking = self.change(asking, deadline=self.now + self._within(asking))
        self._send(asking, Kind.ASKED, message_id=command_id(self.instance.id, phase, step, asking.round))

    def _try_later(self, asking: Asking, reply: Reply | None) -> None:
        pause = pause_before_retry(self.saga.steps_by_name[asking.step].retry, asking.attempts, self._id(asking))
        changed = self.change(asking, status=Status.RETRYING, deadline=self.standing + pause)
        self.note(Kind.TRY_LATER, changed, "no answer" if reply is None else type(reply).__name__, reply)

    def _insist(self, asking: Asking) -> None:
        """Silence of what must be answered: the same command again, with growing waits, as long as that may help."""
        if asking.phase is not Phase.ASK and self.now - asking.asked_at >= self.saga.undo_silence_max:
            self.note(Kind.SILENT, self.change(asking, status=Status.SILENT, deadline=None))
            return
        wait = wait_for_answer(self._within(asking), asking.attempts, self.saga.ask_again_max, self._id(asking))
        self.ask_again(asking, wait)

    def _send(self, asking: Asking, kind: Kind, message_id: UUID | None = None) -> None:
        may_go_unanswered = asking.phase is Phase.ASK and asking.step not in self.saga.must_be_answered
        expires = asking.deadline if may_go_unanswered and asking.deadline else self.now + self.saga.undo_silence_max
        command = self._command(asking)
        self.asks.append(Ask(self._id(asking), asking.step, asking.phase, command, expires))
        self.note(kind, asking, type(command).__name__, message_id=message_id)

    def _within(self, asking: Asking) -> timedelta:
        return self.saga.abandon_within if asking.phase is Phase.ABANDON else self.saga.steps_by_name[asking.step].within

    def _id(self, asking: Asking) -> UUID:
        return command_id(self.instance.id, asking.phase, asking.step, asking.round)

    def _command(self, asking: Asking) -> Command[Any]:
        if asking.phase is not Phase.ABANDON:
            return self._step_builds(asking)(self.instance.order, self.instance.so_far)
        assert self.saga.abandon is not None
        assert self.instance.why is not None
        return self.saga.abandon(self.instance.order, self.instance.why)

    def command_class(self, asking: Asking) -> type[Command[Any]]:
        if asking.phase is not Phase.ABANDON:
            return command_of(self._step_builds(asking))
        assert self.saga.abandon is not None
        return command_of(self.saga.abandon)

    def _step_builds(self, asking: Asking) -> Callable[[E, SoFar], Command[Any]]:
        step = self.saga.steps_by_name[asking.step]
        build = step.ask if asking.phase is Phase.ASK else step.undo
        assert build is not None  # verify() has seen to it
        return build
