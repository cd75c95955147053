"""A saga among simulated participants, on a network that reorders, duplicates, delays and loses; every run from one seed.

Each participant keeps what the real ones keep: the remembered answer per command id, and one row per order that is either
held or withdrawn. Either can be taken away, to show that the saga's promise rests on both.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID

from contracts.messages import Command, Event, Message, Refusal, Reply, StepFaulted
from sagas.engine import instance as instances
from sagas.engine import machine
from sagas.engine.definition import Saga
from sagas.engine.history import Entry
from sagas.engine.instance import Instance, Phase, State
from sagas.engine.machine import Ask, Moved
from tests.play import NOON, SAGA_ID, TENANT_ID

CHAOS_STEPS_MAX: Final = 40
QUIET_STEPS_MAX: Final = 400
MADE_UP: Final[Mapping[Any, object]] = {str: "made up", UUID: UUID(int=7), int: 7}
FAULT: Final = StepFaulted(error="ValueError: bug", fingerprint="f")


class Row(Enum):
    """What a participant keeps of the order."""

    NOTHING = auto()
    HELD = auto()
    WITHDRAWN = auto()


@dataclass
class Participant:
    """Does one step of one order: holds on ask, withdraws on undo."""

    remembers: bool
    keeps_tombstones: bool
    row: Row = Row.NOTHING
    answers: dict[UUID, Reply] = field(default_factory=dict)

    def handle(self, ask: Ask, *, has_room: bool, refusal: type[Refusal] | None) -> Reply:
        if self.remembers and ask.command_id in self.answers:
            return self.answers[ask.command_id]
        answer = self._withdraw(ask) if ask.phase is Phase.UNDO else self._hold(ask, has_room, refusal)
        self.answers[ask.command_id] = answer
        return answer

    def _withdraw(self, ask: Ask) -> Reply:
        self.row = Row.WITHDRAWN if self.keeps_tombstones else Row.NOTHING
        return success_of(ask.command)

    def _hold(self, ask: Ask, has_room: bool, refusal: type[Refusal] | None) -> Reply:
        if self.row is Row.WITHDRAWN and refusal:
            return refusal()
        if self.row is Row.NOTHING and not has_room and refusal:
            return refusal()
        self.row = Row.HELD
        return success_of(ask.command)


def success_of(command: Command[Any]) -> Reply:
    """The answer of a participant that did what it was asked; what it says beside that is made up."""
    success = next(reply for reply in command.replies() if not issubclass(reply, Refusal))
    return success.model_validate({name: MADE_UP[field.annotation] for name, field in success.model_fields.items()})


class World:
    """One saga, its participants and the network between them."""

    def __init__(
        self,
        saga: Saga[Any, Any],
        order: Event,
        seed: int,
        *,
        remembers: bool = True,
        keeps_tombstones: bool = True,
        names: Mapping[str, type[Message]] | None = None,
    ) -> None:
        self.saga, self.order, self.seed, self.random = saga, order, seed, random.Random(seed)
        self.names = names
        self.participants = {name: Participant(remembers, keeps_tombstones) for name in (*saga.steps_by_name, instances.ABANDON_STEP)}
        self.now: datetime = NOON
        self.commands: list[Ask] = []
        self.replies: list[tuple[UUID, Reply]] = []
        self.dead_letters: list[Ask] = []
        self.room = self.random.choice((0.5, 0.9, 1.0))
        self.trouble = self.random.choice((0.0, 0.1, 0.4))
        started = machine.start(saga, SAGA_ID, TENANT_ID, order, self.now)
        self.instance: Instance[Any, Any] = started.instance
        self.history: list[Entry] = []
        self._take(started)

    def run(self) -> "World":
        """Trouble for a while, then a network that works, until nothing moves any more."""
        for _ in range(self.random.randrange(CHAOS_STEPS_MAX)):
            self._disturb()
        self.trouble = 0.0
        if self.random.random() < 0.5:
            self._replay_dead_letters()
        for _ in range(QUIET_STEPS_MAX):
            if not self._move_on():
                break
        # A letter that somebody replays when all is over must not harm either.
        if self.random.random() < 0.5:
            self._replay_dead_letters()
        while self.commands or self.replies:
            self._move_on()
        return self

    def violation(self) -> str | None:
        """What is wrong with how it ended, if anything is."""
        before_pivot = [self.participants[step.name] for group in self.saga.groups for step in group]
        held = [participant.row is Row.HELD for participant in before_pivot]
        confirmed = self.participants[self.saga.pivot.name].row is Row.HELD
        match self.instance.state:
            case State.COMPLETED:
                kept = confirmed and all(held)
            case State.ABANDONED:
                kept = not confirmed and not any(held)
            case State.PARKED | State.NEEDS_ATTENTION:
                kept = self.instance.wake_at is None
            case _:
                kept = False
        return None if kept else f"seed {self.seed}: {self.instance.state}, confirmed={confirmed}, held={held}"

    # The network

    def _disturb(self) -> None:
        match self.random.choices(("move", "late", "again", "lose", "time", "crash", "replay"), (60, 8, 8, 6, 6, 6, 3))[0]:
            case "move" | "late":
                self._deliver()
            case "again" if self.commands:
                self.commands.append(self.random.choice(self.commands))
            case "again" if self.replies:
                self.replies.append(self.random.choice(self.replies))
            case "lose":
                lossy: list[Any] = self.random.choice((self.commands, self.replies))
                if lossy:
                    lossy.pop(self.random.randrange(len(lossy)))
            case "time":
                self._let_time_pass()
            case "crash":
                self._crash()
            case "replay":
                self._replay_dead_letters()

    def _move_on(self) -> bool:
        return self._deliver() or self._let_time_pass()

    def _deliver(self) -> bool:
        total = len(self.commands) + len(self.replies)
        if total == 0:
            return False
        index = self.random.randrange(total)
        if index < len(self.commands):
            # A copy may stay behind on the network, and arrive when the saga is long over.
            ask = self.commands[index] if self.random.random() < self.trouble else self.commands.pop(index)
            self._handle(ask)
        else:
            command, reply = self.replies.pop(index - len(self.commands))
            self._take(machine.answered(self.saga, self.instance, command, reply, self.now))
        return True

    def _handle(self, ask: Ask) -> None:
        if self.random.random() < self.trouble / 2:
            self.dead_letters.append(ask)
            self.replies.append((ask.command_id, FAULT))
            return
        refusals = ask.command.refusals()
        refusal = self.random.choice(refusals) if refusals else None
        has_room = self.random.random() < self.room
        self.replies.append((ask.command_id, self.participants[ask.step].handle(ask, has_room=has_room, refusal=refusal)))

    def _let_time_pass(self) -> bool:
        if self.instance.wake_at is None:
            return False
        self.now = max(self.now, self.instance.wake_at)
        self._take(machine.timed_out(self.saga, self.instance, self.now))
        return True

    def _replay_dead_letters(self) -> None:
        self.commands += self.dead_letters
        self.dead_letters.clear()

    def _crash(self) -> None:
        """The coordinator is started anew: all it knows is the row."""
        i, names = self.instance, self.names
        if names is None:
            self.instance = instances.from_json(self.saga, i.id, i.tenant_id, i.order, instances.to_json(i))
        else:
            data = instances.to_json(i, lambda message: message.__name__)
            self.instance = instances.from_json(self.saga, i.id, i.tenant_id, i.order, data, names.__getitem__)
        assert self.instance == i, f"seed {self.seed}: the row is not the instance"

    def _take(self, moved: Moved[Any, Any]) -> None:
        assert moved.instance.revision == self.instance.revision or moved.entries, f"seed {self.seed}: a change without history"
        self.instance = moved.instance
        self.commands += moved.asks
        self.history += moved.entries
