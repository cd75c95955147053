"""One saga among simulated participants, with everything that happens to it decided by one seed, on a clock that nobody waits for.

Trouble comes for a while; then the network works, bugs are mended, and the run goes on until nothing moves any more.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from contracts.messages import Event, Message, Refusal, Reply, StepFaulted
from sagas.engine import instance as instances
from sagas.engine import machine
from sagas.engine.definition import Saga
from sagas.engine.history import Entry
from sagas.engine.instance import Instance, State
from sagas.engine.machine import Ask, Moved
from sagas.engine.naming import command_of
from tests.kit.dialogue import FAULT, NOON, SAGA_ID, TENANT_ID
from tests.kit.faults import HONEST, Fault
from tests.kit.operators import act_at_random, mend
from tests.kit.participants import NO_EXAMPLES, Examples, Participant
from tests.kit.story import Noise

TROUBLED_EVENTS_MAX: Final = 40
EVENTS_MAX: Final = 600
"""More than any run needs; one that needs more never comes to rest."""
MENDS_MAX: Final = 12


class Contradiction(Reply):
    """What no command declares."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A command on its way to a participant, or the answer on its way back. `is_true`: what really is."""

    due: datetime
    ask: Ask
    reply: Reply | None = None
    is_true: bool = True


class World:
    """One run."""

    def __init__(
        self,
        saga: Saga[Any, Any],
        order: Event,
        seed: int,
        *,
        faults: Collection[Fault] = HONEST,
        examples: Examples = NO_EXAMPLES,
        participants: Callable[[str, Examples], Participant] = Participant,
    ) -> None:
        self.saga, self.order, self.seed, self.random = saga, order, seed, random.Random(seed)
        # Not every kind of trouble in every run, or the rarer paths would never be seen.
        self.faults = frozenset(fault for fault in sorted(faults) if self.random.random() < 0.7 or len(faults) == 1)
        self.trouble = self.random.choice((0.03, 0.1, 0.3))
        self.troubled_events = self.random.randrange(TROUBLED_EVENTS_MAX)
        self.is_attended = Fault.OPERATORS in self.faults and self.random.random() < 0.5
        self.mends_left = MENDS_MAX if self.is_attended else 0
        self.ends_in_replay = Fault.REPLAY in self.faults and self.random.random() < 0.5
        self.participants = {name: participants(name, examples) for name in (*saga.steps_by_name, instances.ABANDON_STEP)}
        self.now = NOON
        self.parcels: list[Parcel] = []
        self.dead_letters: list[Ask] = []
        self.down_until: dict[str, datetime] = {}
        self.told_truly: set[Any] = set()
        self.history: list[Entry] = []
        self.noise: list[Noise] = []
        self.asked: list[Ask] = []
        self.instance: Instance[Any, Any]
        self._begin(machine.start(saga, SAGA_ID, TENANT_ID, order, self.now))

    def run(self) -> "World":
        """Until nothing moves any more, or EVENTS_MAX."""
        self.events = 0
        while self.events < EVENTS_MAX and (self._next() or self._replay_at_the_end()):
            self.events += 1
        return self

    @property
    def is_troubled(self) -> bool:
        return self.events < self.troubled_events

    def chance(self, fault: Fault, weight: float = 1.0) -> bool:
        """Whether that trouble strikes now."""
        return self.is_troubled and fault in self.faults and self.random.random() < self.trouble * weight

    def tell(self, text: str) -> None:
        self.noise.append((self.now, len(self.history), text))

    def take(self, moved: Moved[Any, Any]) -> None:
        """The coordinator's commit."""
        assert moved.instance is self.instance or moved.entries, "a change without history"
        self.instance = moved.instance
        self.history += moved.entries
        self.asked += moved.asks
        for ask in moved.asks:
            self._send(Parcel(self.now, ask))

    def replay_dead_letters(self) -> None:
        if self.dead_letters:
            self.tell(f"{len(self.dead_letters)} parked letters are replayed")
        for ask in self.dead_letters:
            self.parcels.append(Parcel(self.now, ask))
        self.dead_letters.clear()

    def _begin(self, started: Moved[Any, Any]) -> None:
        self.events = 0
        self.instance = started.instance
        self.take(started)

    # What happens next

    def _next(self) -> bool:
        if self.chance(Fault.OPERATORS):
            act_at_random(self)
        if self.chance(Fault.REPLAY):
            self.replay_dead_letters()
        ready = [index for index, parcel in enumerate(self.parcels) if parcel.due <= self.now]
        if ready:
            self._deliver(self.parcels.pop(self._chosen(ready)))
            return True
        return self._let_time_pass() or mend(self)

    def _chosen(self, ready: list[int]) -> int:
        if self.is_troubled and Fault.REORDER in self.faults:
            return self.random.choice(ready)
        return min(ready, key=lambda index: self.parcels[index].due)

    def _let_time_pass(self) -> bool:
        arrival = min((parcel.due for parcel in self.parcels), default=None)
        wake_at = self.instance.wake_at
        if arrival is None and self.instance.state is State.PARKED and self._somebody_sees_it():
            return False
        if wake_at is None or (arrival is not None and arrival < wake_at):
            self.now = max(self.now, arrival) if arrival else self.now
            return arrival is not None
        # A timer may be late.
        self.now = max(self.now, wake_at) + (self._long() if self.chance(Fault.DELAY, 0.3) else timedelta(0))
        self.take(machine.timed_out(self.saga, self.instance, self.now))
        return True

    def _somebody_sees_it(self) -> bool:
        """A parked saga, before its parking ends: people mend it, or the run ends while it is parked, or nobody comes."""
        return self.mends_left > 0 or self.seed % 2 == 0

    def _replay_at_the_end(self) -> bool:
        """A letter that somebody replays when all is over must not harm either."""
        if not self.ends_in_replay or not self.dead_letters:
            return False
        self.replay_dead_letters()
        return True

    # The network

    def _send(self, parcel: Parcel) -> None:
        if parcel.is_true and self.chance(Fault.DROP):
            self.tell(f"lost: {_name(parcel)}")
            return
        if self.chance(Fault.DELAY):
            parcel = Parcel(self.now + self._long(), parcel.ask, parcel.reply, parcel.is_true)
            self.tell(f"takes until {(parcel.due - NOON).total_seconds():.1f} s: {_name(parcel)}")
        self.parcels.append(parcel)
        if self.chance(Fault.DUPLICATE):
            self.parcels.append(Parcel(self.now + self._long(), parcel.ask, parcel.reply, parcel.is_true))
            self.tell(f"will arrive twice: {_name(parcel)}")

    def _long(self) -> timedelta:
        return timedelta(seconds=round(10 ** self.random.uniform(0, 4), 1))

    def _deliver(self, parcel: Parcel) -> None:
        deliver = self._to_participant if parcel.reply is None else self._to_coordinator
        deliver(parcel)
        if self.chance(Fault.CRASH):
            self.tell(f"a crash, after: {_name(parcel)}")
            self._read_the_row_again()
            deliver(parcel)

    def _to_coordinator(self, parcel: Parcel) -> None:
        assert parcel.reply is not None
        self.take(machine.answered(self.saga, self.instance, parcel.ask.command_id, parcel.reply, self.now))
        if not parcel.is_true:
            self._must_be_seen(parcel.ask, parcel.reply)
        elif not isinstance(parcel.reply, StepFaulted):
            self.told_truly.add(parcel.ask.command_id)

    def _must_be_seen(self, ask: Ask, lie: Reply) -> None:
        found = self.instance.asking_of(ask.command_id)
        assert found is not None
        asking, round_ = found
        # What an operator has supplied may differ; each earlier round was refused, and may be again.
        is_harmless = asking.supplied or (round_ < asking.round and isinstance(lie, Refusal))
        assert asking.contradicted or is_harmless, f"nobody has noticed that {type(lie).__name__} contradicts what {ask.step} has said"

    def _to_participant(self, parcel: Parcel) -> None:
        step = parcel.ask.step
        if self.chance(Fault.SILENCE):
            self.down_until[step] = self.now + self._long()
            self.tell(f"down until {(self.down_until[step] - NOON).total_seconds():.1f} s: the participant of {step}")
        if self.is_troubled and self.down_until.get(step, self.now) > self.now:
            self.parcels.append(Parcel(self.down_until[step], parcel.ask))
        elif self.chance(Fault.FAULT):
            self.tell(f"a bug; the letter is parked: {_name(parcel)}")
            self.dead_letters.append(parcel.ask)
            self._send(Parcel(self.now, parcel.ask, FAULT))
        else:
            self._handle(parcel.ask)

    def _handle(self, ask: Ask) -> None:
        refusals = ask.command.refusals()
        refusal: type[Refusal] | None = self.random.choice(refusals) if refusals and self.chance(Fault.REFUSE, 2) else None
        participant = self.participants[ask.step]
        if self.chance(Fault.CONTRADICT):
            self._contradict(ask, participant)
        else:
            self._send(Parcel(self.now, ask, participant.handle(ask, refusal)))

    def _contradict(self, ask: Ask, participant: Participant) -> None:
        known = participant.answers.get(ask.command_id)
        if known is None:
            # Done, but answered with nonsense, which its inbox remembers.
            participant.handle(ask, None)
            participant.answers[ask.command_id] = Contradiction()
        elif isinstance(known, Contradiction) or ask.command_id not in self.told_truly:
            self._send(Parcel(self.now, ask, known))
            return
        lies = [reply for reply in ask.command.replies() if not isinstance(known, reply)] or [Contradiction]
        lie = Contradiction() if known is None else participant.made_up(self.random.choice(lies))
        self.tell(f"a contradiction: {type(lie).__name__} to {_name(Parcel(self.now, ask))}")
        self._send(Parcel(self.now, ask, lie, is_true=False))

    # The row

    def _read_the_row_again(self) -> None:
        names = _names(self.saga)
        data = instances.to_json(self.instance, lambda message: message.__name__)
        again = instances.from_json(self.saga, SAGA_ID, TENANT_ID, self.order, data, names.__getitem__)
        assert again == self.instance, "the row is not the instance"
        self.instance = again


@lru_cache(maxsize=512)
def _names(saga: Saga[Any, Any]) -> Mapping[str, type[Message]]:
    builds = [build for step in saga.steps_by_name.values() for build in (step.ask, step.undo) if build is not None]
    commands = [command_of(build) for build in (*builds, *([saga.abandon] if saga.abandon else []))]
    replies: list[type[Message]] = [StepFaulted, Contradiction, *(reply for command in commands for reply in command.replies())]
    return {reply.__name__: reply for reply in replies}


def _name(parcel: Parcel) -> str:
    return f"{type(parcel.ask.command).__name__} of {parcel.ask.step}" if parcel.reply is None else type(parcel.reply).__name__
