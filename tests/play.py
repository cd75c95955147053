"""The test kit for people who write sagas: a saga played as a dialogue, on a clock that nobody waits for.

lines = [(ReserveQuota, QuotaReserved()), (ReserveStock, SILENCE), ...]
assert play(PLACE_ORDER, ORDER, lines).why is Rejection.NO_ANSWER
"""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from contracts.messages import Command, Reply
from contracts.values import SagaId, TenantId
from sagas.engine import machine
from sagas.engine.definition import E, Saga, W
from sagas.engine.instance import Instance
from sagas.engine.machine import Ask, Moved

SAGA_ID: Final = SagaId(UUID(int=1))
TENANT_ID: Final = TenantId(UUID(int=2))
NOON: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Silence:
    """The participant does not answer; the clock moves on to the next deadline."""

    def __repr__(self) -> str:
        return "SILENCE"


SILENCE: Final = Silence()
Line = tuple[type[Command[Any]], Reply | Silence]


class DialogueBroken(AssertionError):
    """The saga asked for something else than the dialogue says; the message tells the dialogue up to there."""

    def __init__(self, problem: str, told: Sequence[str]) -> None:
        super().__init__("\n".join([problem, "The dialogue so far:", *(f"  {line}" for line in told)]))


def play(saga: Saga[E, W], order: E, lines: Sequence[Line]) -> Instance[E, W]:
    """Play the lines, in the order in which commands are asked, and return the instance after the last one."""
    dialogue = _Dialogue(saga, machine.start(saga, SAGA_ID, TENANT_ID, order, NOON))
    for expected, reply in lines:
        dialogue.play(expected, reply)
    return dialogue.end()


class _Dialogue:
    def __init__(self, saga: Saga[Any, Any], started: Moved[Any, Any]) -> None:
        self.saga, self.now, self.told = saga, NOON, list[str]()
        self.instance, self.asked = started.instance, deque[Ask](started.asks)

    def play(self, expected: type[Command[Any]], reply: Reply | Silence) -> None:
        ask = self._next_ask(expected)
        if type(ask.command) is not expected:
            raise DialogueBroken(f"{type(ask.command).__name__} was asked, the dialogue expects {expected.__name__}", self.told)
        self.told.append(f"{expected.__name__} -> {reply!r}")
        if not isinstance(reply, Silence):
            self._moved(machine.answered(self.saga, self.instance, ask.command_id, reply, self.now))

    def end(self) -> Instance[Any, Any]:
        if self.asked:
            raise DialogueBroken(f"{type(self.asked[0].command).__name__} was asked, the dialogue has ended", self.told)
        return self.instance

    def _next_ask(self, expected: type[Command[Any]]) -> Ask:
        while not self.asked:
            if self.instance.wake_at is None:
                raise DialogueBroken(f"{self.instance.state}: nothing is asked, the dialogue expects {expected.__name__}", self.told)
            self.now = self.instance.wake_at
            self._moved(machine.timed_out(self.saga, self.instance, self.now))
        return self.asked.popleft()

    def _moved(self, moved: Moved[Any, Any]) -> None:
        self.instance = moved.instance
        self.asked.extend(moved.asks)
