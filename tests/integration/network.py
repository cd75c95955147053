"""A broker and its network in memory, with everything that can happen between a commit and a delivery.

What a service commits is handed over here instead of to a broker, and routed by the bindings of the real one. On its way it may be
delayed, overtaken, copied, grouped with others, lost, or die with the process that was to publish it; its outbox row stays then.
What waits on the retry ladder comes back at once, or when time passes.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Final
from uuid import UUID, uuid4

from pydantic_core import from_json

from contracts import headers
from contracts.addresses import DEAD_LETTERS, DESK, Address, bindings, replay_address, retry_queues, work_queues
from contracts.catalog import name_of
from contracts.desk import LetterSettled
from contracts.messages import Envelope
from contracts.values import TenantId
from infra.errors import Retryable
from infra.frames import encode
from infra.outbox import Outgoing

FRAMES_MAX: Final = 8
"""Most frames that a consumer gets at once while the network is in trouble."""
Key = tuple[TenantId, str]


class Crash(BaseException):
    """The process ends here, as if by SIGKILL: nothing in it may catch this."""


class Bug(ValueError):
    """A use case that cannot handle this message, until somebody mends it."""


class Faults:
    """The dice of one run. `trouble` is how often anything goes wrong, 0 <= trouble < 1; 0 is a platform that works."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.trouble = 0.0
        self._broken: dict[UUID, bool] = {}

    def happens(self, share: float = 1.0) -> bool:
        return self.random.random() < self.trouble * share

    def may_die(self) -> None:
        """Raises Crash now and then."""
        if self.happens(0.1):
            raise Crash

    def may_break(self, envelope: Envelope) -> None:
        """Raises Bug for some messages, each time they are tried."""
        if self._broken.setdefault(envelope.id, self.happens(0.4)):
            raise Bug("the use case has a bug")

    def may_stumble(self) -> None:
        """Raises Retryable now and then."""
        if self.happens(0.05):
            raise Retryable("in a moment it will work")

    def mend(self) -> None:
        """What was broken is tried anew."""
        self._broken.clear()


@dataclass(frozen=True)
class Frame:
    """What a queue delivers at once."""

    envelopes: tuple[Outgoing, ...]
    redelivered: bool = False

    @property
    def body(self) -> bytes:
        return encode([one.body for one in self.envelopes])

    @property
    def headers(self) -> Mapping[str, str | int]:
        """What it says of its envelope, if it has a say."""
        return self.envelopes[0].headers or {}


@dataclass
class Network:
    """The queues of one run, and what became of the envelopes that were to get there."""

    faults: Faults
    queues: dict[str, list[Frame]] = field(default_factory=lambda: {queue: [] for queue in work_queues()})
    letters: list[tuple[str, Outgoing]] = field(default_factory=list)
    """Dead letters with the queue they died on."""
    confirmed: dict[str, dict[Key, datetime]] = field(default_factory=lambda: defaultdict(dict))
    """By service: rows of its outbox that the broker has taken, and that can be deleted, with the time at which they were written."""
    unpublished: dict[str, dict[Key, None]] = field(default_factory=lambda: defaultdict(dict))
    """By service: rows of its outbox that only a sweeper can publish."""
    stragglers: list[tuple[str, Frame]] = field(default_factory=list)
    """Copies that arrive when all is over."""
    waiting: list[tuple[str, Frame]] = field(default_factory=list)
    """On the retry ladder, with the queue that they come from."""
    unheard: dict[str, None] = field(default_factory=dict)
    """Replays of letters of which nobody has said yet what came of them."""
    silent: dict[str, None] = field(default_factory=dict)
    """Queues that nobody reads at present."""
    told: list[str] = field(default_factory=list)
    """What happened, for whoever has to understand a failure; it names no random id, so that the same seed tells the same."""

    def hand_over(self, service: str, outgoing: Sequence[Outgoing]) -> None:
        """Take what was committed; raises Crash if the process dies before it is published."""
        if not outgoing:
            return
        keys = dict.fromkeys((one.tenant_id, one.id) for one in outgoing)
        self.unpublished[service] |= keys
        for key in keys:
            self.confirmed[service].pop(key, None)
        self.faults.may_die()
        self.publish(service, outgoing)

    def publish(self, service: str, outgoing: Sequence[Outgoing]) -> None:
        """Route to every queue that is bound, in an order that does not depend on random ids."""
        for one in sorted(outgoing, key=_sort_key):
            self._note_what_came_of_replays(one)
            if one.address.exchange in retry_queues():
                self._wait(one)
            else:
                self._deliver(one)
            # A confirm that came too late: the sweeper publishes it once more.
            if not self.faults.happens(0.1):
                self.unpublished[service].pop((one.tenant_id, one.id), None)
                assert one.created_at is not None, "what is committed has a row"
                self.confirmed[service][one.tenant_id, one.id] = one.created_at

    def _deliver(self, one: Outgoing) -> None:
        found = _QUEUES[one.address]
        assert found, f"{one.address} leads nowhere"
        for queue in found:
            if queue in self.queues:
                self.queues[queue].append(Frame((one,)))
            else:
                self.letters.append((one.address.routing_key, one))

    def _wait(self, one: Outgoing) -> None:
        queue, frame = one.address.routing_key, Frame((one,))
        if self.faults.random.random() < 0.5:
            self.queues[queue].append(frame)
        else:
            self.waiting.append((queue, frame))

    def _note_what_came_of_replays(self, one: Outgoing) -> None:
        if one.address.exchange == DEAD_LETTERS:
            self.unheard.pop(str((one.headers or {}).get(headers.REPLAY)), None)
        envelope = from_json(one.body)
        if envelope["type"] == name_of(LetterSettled):
            self.unheard.pop(f"{envelope['data']['replay_id']}/{envelope['data']['letter_id']}", None)

    def bring_back(self) -> bool:
        """The time of everything on the retry ladder is over; False if nothing is there."""
        found = bool(self.waiting)
        for queue, frame in self.waiting:
            self.queues[queue].append(frame)
        self.waiting.clear()
        return found

    def take(self) -> tuple[str, list[Frame]] | None:
        """Some frames of one queue in any order; copies may stay behind. None if nobody has anything to read."""
        readable = [queue for queue, frames in self.queues.items() if frames and queue not in self.silent]
        if not readable:
            return None
        random = self.faults.random
        # Nobody waits for what the desk hears: it does not take everybody's turn.
        others = [queue for queue in readable if not queue.startswith(DESK)]
        queue = random.choice(others if others and random.random() < 0.8 else readable)
        waiting = self.queues[queue]
        random.shuffle(waiting)
        many = min(len(waiting), random.randint(1, FRAMES_MAX)) if self.faults.trouble else len(waiting)
        taken, self.queues[queue] = waiting[:many], waiting[many:]
        for frame in taken:
            if self.faults.happens(0.5):
                self.queues[queue].append(frame)
            elif self.faults.happens(0.5):
                self.stragglers.append((queue, frame))
        return queue, self._grouped(taken)

    def give_back(self, queue: str, frames: Iterable[Frame]) -> None:
        """They were delivered and not acked."""
        self.queues[queue] += [Frame(frame.envelopes, redelivered=True) for frame in frames]

    def let_stragglers_arrive(self) -> None:
        for queue, frame in self.stragglers:
            self.queues[queue].append(frame)
        self.stragglers.clear()

    def lose(self) -> None:
        """A frame of commands or replies is gone. Events are not asked for again: a broker that confirmed them keeps them."""
        lossy = [queue for queue, frames in self.queues.items() if frames and ".events." not in queue]
        if lossy:
            frames = self.queues[self.faults.random.choice(lossy)]
            lost = frames.pop(self.faults.random.randrange(len(frames)))
            self.unheard.pop(str(lost.headers.get(headers.REPLAY)), None)

    def fall_silent(self) -> None:
        """One of the queues has no reader for a while."""
        self.silent[self.faults.random.choice(list(self.queues))] = None

    def replay(self, *, all_of_them: bool = False) -> None:
        """Somebody mends what was broken and sends dead letters back to where they died."""
        self.faults.mend()
        kept = []
        for queue, letter in self.letters:
            # Nobody asks again for an event, nor for what the coordinator gave up: those wait for people.
            if all_of_them or ".events." in queue or queue.startswith("sagas.") or self.faults.random.random() < 0.3:
                self.queues[queue].append(Frame((self._again(queue, letter),)))
            else:
                kept.append((queue, letter))
        self.letters = kept

    def _again(self, queue: str, letter: Outgoing) -> Outgoing:
        told = letter.headers or {}
        replaying = f"{uuid4()}/{told[headers.LETTER]}"
        self.unheard[replaying] = None
        return replace(letter, address=replay_address(queue), headers={headers.REPLAY: replaying})

    def _grouped(self, frames: list[Frame]) -> list[Frame]:
        # What has headers of its own travels alone.
        alone = [frame for frame in frames if frame.redelivered or frame.headers]
        fresh = tuple(one for frame in frames if not (frame.redelivered or frame.headers) for one in frame.envelopes)
        if len(fresh) < 2 or self.faults.random.random() < 0.5:
            return frames
        return [Frame(fresh), *alone]


def _routes() -> dict[Address, list[str]]:
    found: dict[Address, list[str]] = defaultdict(list)
    for binding in bindings():
        found[Address(binding.exchange, binding.routing_key)].append(binding.queue)
    return found


def _sort_key(one: Outgoing) -> tuple[str, str]:
    envelope = from_json(one.body)
    # The subjects are orders, whose ids sort by the time at which they were placed; those of reports are letters, and random.
    return "" if envelope["type"] == name_of(LetterSettled) else envelope["subject"], envelope["type"]


_QUEUES: Final = _routes()
