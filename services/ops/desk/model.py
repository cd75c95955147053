"""A dead letter and its life. No session, no clock, no SQL.

    DEAD --replaying--> REPLAYING --settled--> SETTLED        its effect is committed
     ^  ^                |    |
     |  +--died_again----+    |                               the replay was in vain
     |  +--given_back---------+                               it was never sent, or nobody can tell what came of it
     |
     +--archived / restored--> ARCHIVED                       nobody wants it handled; only from here is it purged

Whatever it is, a letter that dies anew is DEAD; only while it is being replayed, a death that is not that replay's leaves the outcome
to the replay.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from contracts.values import SagaId, TenantId

REPLAYS_IN_VAIN_MAX: Final = 3
"""Replays in vain after which a letter is held back: what failed three times fails a fourth time."""
NOBODY: Final = TenantId(UUID(int=0))
"""The tenant of letters that do not tell whose they are."""
_NAMESPACE: Final = UUID("5d2c7d52-0f6b-5b0e-8a6a-0d6a3e0c9b11")


class State(StrEnum):
    """Where a letter stands."""

    DEAD = "DEAD"
    REPLAYING = "REPLAYING"
    SETTLED = "SETTLED"
    ARCHIVED = "ARCHIVED"

    @property
    def is_open(self) -> bool:
        """Somebody still has to see to it."""
        return self in OPEN


OPEN: Final = (State.DEAD, State.REPLAYING)


class IllegalTransition(Exception):
    """The letter is not in a state in which that can happen to it."""

    def __init__(self, letter: "Letter", verb: str) -> None:
        super().__init__(f"letter {letter.id} is {letter.state}: it cannot be {verb}")
        self.letter = letter
        self.verb = verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """One time a message died. `id` is the same however often the broker or the sweeper brings the letter of it."""

    id: UUID
    letter_id: UUID
    at: datetime
    attempts: int
    fingerprint: str
    exception_type: str
    error: str
    stack: str
    build: str
    headers: str
    """As JSON, whatever they were."""
    is_native: bool
    replay_id: UUID | None = None
    """The replay that it died of."""


@dataclass(slots=True, kw_only=True)
class Letter:
    """A dead letter without its payload, which is only read when it is needed."""

    tenant_id: TenantId
    id: UUID
    queue: str
    service: str
    type: str
    message_id: UUID | None
    saga_id: SagaId | None
    subject: str
    trace_id: str | None
    state: State
    fingerprint: str
    exception_type: str
    error: str
    build: str
    attempts: int
    deaths: int
    replays_in_vain: int
    is_native: bool
    is_readable: bool
    """It is an envelope of its own tenant with an id and a type: only then can it be mended or sent again."""
    sent_at: datetime | None
    first_died_at: datetime
    died_at: datetime
    changed_at: datetime
    revision: int
    replay_id: UUID | None
    """The replay that it is or was last part of."""
    newest: Death | None = field(default=None, compare=False)
    """A death whose story is to be saved as the letter's."""
    changed: bool = field(default=False, compare=False)

    @property
    def is_held_back(self) -> bool:
        """It was replayed in vain so often that it is left out unless somebody insists."""
        return held_back(self.replays_in_vain)

    def is_too_old(self, now: datetime, keep: timedelta) -> bool:
        """Its service may have forgotten by now whether it handled the message, and could handle it twice."""
        return too_old(self.sent_at, self.first_died_at, now, keep)

    def replaying(self, replay_id: UUID, now: datetime) -> None:
        """It is part of this replay; raises IllegalTransition unless it is DEAD."""
        self._move("replayed", (State.DEAD,), State.REPLAYING, now)
        self.replay_id = replay_id

    def given_back(self, now: datetime) -> None:
        """Its replay will not send it after all, or waits no longer for its outcome; raises IllegalTransition unless it is REPLAYING."""
        self._move("given back", (State.REPLAYING,), State.DEAD, now)

    def settled(self, now: datetime) -> None:
        """Its effect is committed; raises IllegalTransition unless it is open."""
        # Of a letter that was sent twice one copy may die and the other be handled: so DEAD is as good.
        self._move("settled", OPEN, State.SETTLED, now)

    def archived(self, now: datetime) -> None:
        """Nobody wants it handled; raises IllegalTransition unless it is DEAD."""
        self._move("archived", (State.DEAD,), State.ARCHIVED, now)

    def restored(self, now: datetime) -> None:
        """Somebody does after all; raises IllegalTransition unless it is ARCHIVED."""
        self._move("restored", (State.ARCHIVED,), State.DEAD, now)

    def revised(self, now: datetime) -> int:
        """An operator has edited its payload; returns the new revision. Raises IllegalTransition unless it is DEAD."""
        self._move("edited", (State.DEAD,), State.DEAD, now)
        self.revision += 1
        return self.revision

    def died_again(self, death: Death, now: datetime) -> None:
        """One more death, which was not known before. Older ones may come to be known later."""
        is_of_its_replay = self.state is State.REPLAYING and death.replay_id == self.replay_id
        self.deaths += 1
        if is_of_its_replay:
            self.replays_in_vain += 1
        if is_of_its_replay or self.state is not State.REPLAYING:
            self.state = State.DEAD
        if death.at >= self.died_at:
            self.died_at, self.attempts, self.build, self.is_native = death.at, death.attempts, death.build, death.is_native
            self.fingerprint, self.exception_type, self.error = death.fingerprint, death.exception_type, death.error
            self.newest = death
        self.first_died_at = min(self.first_died_at, death.at)
        self._touch(now)

    def _move(self, verb: str, before: tuple[State, ...], after: State, now: datetime) -> None:
        if self.state not in before:
            raise IllegalTransition(self, verb)
        self.state = after
        self._touch(now)

    def _touch(self, now: datetime) -> None:
        self.changed_at = now
        self.changed = True


def held_back(replays_in_vain: int) -> bool:
    """Whether a letter was replayed in vain so often that it is left out unless somebody insists."""
    return replays_in_vain >= REPLAYS_IN_VAIN_MAX


def too_old(sent_at: datetime | None, first_died_at: datetime, now: datetime, keep: timedelta) -> bool:
    """Whether the service of such a letter may have forgotten by now if it handled the message, and could handle it twice."""
    return min(sent_at or first_died_at, first_died_at) + keep < now


def letter_id(tenant_id: TenantId, queue: str, message: UUID | str) -> UUID:
    """The id of the letter of this message on this queue; of what has no id, `message` is a digest of its body."""
    return uuid5(_NAMESPACE, f"{tenant_id}:{queue}:{message}")


def death_id(*parts: object) -> UUID:
    """The id of a death that has none, made of what is the same each time it is told."""
    return uuid5(_NAMESPACE, ":".join(map(str, parts)))
