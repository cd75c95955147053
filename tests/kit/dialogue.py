"""A saga played as a dialogue, on a clock that nobody waits for.

    lines = [(ReserveStock, FAULT), State.PARKED, Operator(Verb.RETRY), (ReserveStock, StockReserved()), ...]
    assert play(PLACE_ORDER, ORDER, lines).state is State.COMPLETED

A line is a command that is asked next and what becomes of it, or something that happens in between. The clock moves to the next
deadline only when a line needs a command and none is asked.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from contracts.messages import Command, Reply, StepFaulted
from contracts.values import SagaId, TenantId
from sagas.engine import machine, verbs
from sagas.engine.definition import E, Saga, W
from sagas.engine.history import Entry
from sagas.engine.instance import Instance, State
from sagas.engine.machine import Ask, Moved
from sagas.engine.verbs import Verb
from tests.kit.story import told

SAGA_ID: Final = SagaId(UUID(int=1))
TENANT_ID: Final = TenantId(UUID(int=2))
NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
FAULT: Final = StepFaulted(error="ValueError: a bug", fingerprint="bug")
"""The participant gives the command up."""


class Silence:
    """The participant does not answer; the clock moves on to the next deadline."""

    def __repr__(self) -> str:
        return "SILENCE"


SILENCE: Final = Silence()


@dataclass(frozen=True)
class After:
    """The clock moves on; whatever becomes due meanwhile happens at its time."""

    time: timedelta


@dataclass(frozen=True)
class Late:
    """An answer to the last command of that class in the dialogue: late, twice, or another one than before."""

    command: type[Command[Any]]
    reply: Reply


@dataclass(frozen=True)
class Operator:
    """What an operator does; `step` and `answer` are skip's. What is illegal raises IllegalVerb or WrongAnswer out of `play`."""

    verb: Verb
    step: str | None = None
    answer: Mapping[str, Any] | None = None
    actor: str = "Olive"
    reason: str = "it must go on"

    def act(self, saga: Saga[E, W], instance: Instance[E, W], now: datetime) -> Moved[E, W]:
        """Raises IllegalVerb and WrongAnswer."""
        if self.verb is Verb.SKIP:
            return verbs.skip(saga, instance, now, self.actor, self.reason, self.step, self.answer)
        return _ACTS[self.verb](saga, instance, now, self.actor, self.reason)


_ACTS: Final[Mapping[Verb, Callable[..., Moved[Any, Any]]]] = {
    Verb.RETRY: verbs.retry,
    Verb.CANCEL: verbs.cancel,
    Verb.PAUSE: verbs.pause,
    Verb.RESUME: verbs.resume,
}
Line = tuple[type[Command[Any]], Reply | Silence] | Operator | After | Late | State
"""A command and its answer, an operator's act, time that passes, a late answer, or the state that the saga must be in here."""


class DialogueBroken(AssertionError):
    """The saga did something else than the dialogue says; the message tells the dialogue up to there, and what happened."""

    def __init__(self, problem: str, lines: Sequence[Line], history: Sequence[Entry]) -> None:
        dialogue = [f"  {_text(line)}" for line in lines]
        super().__init__("\n".join([problem, "The dialogue so far:", *dialogue, "What happened:", *told(history)]))


def play(saga: Saga[E, W], order: E, lines: Sequence[Line]) -> Instance[E, W]:
    """Play the lines, in the order in which commands are asked, and return the instance after the last one."""
    dialogue = _Dialogue(saga, machine.start(saga, SAGA_ID, TENANT_ID, order, NOON))
    for line in lines:
        dialogue.play(line)
    return dialogue.end()


class _Dialogue:
    def __init__(self, saga: Saga[Any, Any], started: Moved[Any, Any]) -> None:
        self.saga, self.now, self.played = saga, NOON, list[Line]()
        self.history, self.asked = list[Entry](), deque[Ask]()
        self.taken = dict[type[Command[Any]], Ask]()
        self._moved(started)

    def play(self, line: Line) -> None:
        match line:
            case State():
                self._must_be(line)
            case Operator():
                self._moved(line.act(self.saga, self.instance, self.now))
            case After():
                self._wait(line.time)
            case Late():
                self._answer_late(line)
            case (expected, reply):
                self._answer(expected, reply)
        self.played.append(line)

    def end(self) -> Instance[Any, Any]:
        if self.asked:
            raise self._broken(f"{type(self.asked[0].command).__name__} was asked, the dialogue has ended")
        return self.instance

    def _must_be(self, state: State) -> None:
        if self.instance.state is not state:
            raise self._broken(f"it is {self.instance.state}, the dialogue expects {state}")

    def _answer(self, expected: type[Command[Any]], reply: Reply | Silence) -> None:
        ask = self._next_ask(expected)
        if type(ask.command) is not expected:
            raise self._broken(f"{type(ask.command).__name__} was asked, the dialogue expects {expected.__name__}")
        self.taken[expected] = ask
        if not isinstance(reply, Silence):
            self._moved(machine.answered(self.saga, self.instance, ask.command_id, reply, self.now))

    def _answer_late(self, late: Late) -> None:
        if late.command not in self.taken:
            raise self._broken(f"{late.command.__name__} was not asked yet, so it cannot be answered late")
        self._moved(machine.answered(self.saga, self.instance, self.taken[late.command].command_id, late.reply, self.now))

    def _wait(self, time: timedelta) -> None:
        end = self.now + time
        while self.instance.wake_at is not None and self.instance.wake_at <= end:
            self._wake(self.instance.wake_at)
        self.now = end

    def _wake(self, at: datetime) -> None:
        self.now = max(self.now, at)
        self._moved(machine.timed_out(self.saga, self.instance, self.now))

    def _next_ask(self, expected: type[Command[Any]]) -> Ask:
        while not self.asked:
            if self.instance.wake_at is None:
                raise self._broken(f"{self.instance.state}: nothing is asked, the dialogue expects {expected.__name__}")
            self._wake(self.instance.wake_at)
        return self.asked.popleft()

    def _moved(self, moved: Moved[Any, Any]) -> None:
        self.instance = moved.instance
        self.asked.extend(moved.asks)
        self.history.extend(moved.entries)

    def _broken(self, problem: str) -> DialogueBroken:
        return DialogueBroken(problem, self.played, self.history)


def _text(line: Line) -> str:
    return f"{line[0].__name__} -> {line[1]!r}" if isinstance(line, tuple) else repr(line)
