"""Every exchange, queue and binding, on one screen.

    writer's exchange           routing key            queue               who reads it
    sagas.commands   (direct)   inventory.commands.0   inventory.commands.0  inventory
    <service>.replies(direct)   sagas.replies.0        sagas.replies.0       sagas
    <service>.events (topic)    <message name>.0       <service>.events.0    whoever is in SUBSCRIPTIONS
    dead-letters     (direct)   <queue>                <queue>.dead          the operators' desk
    replays          (direct)   <queue>                <queue>               who reads that queue: what the desk sends again
    retry.<ms>.<lane>(fanout)   <queue>                retry.<ms>.<lane>     nobody: when its time is over it goes back to <queue>

Each exchange has one writer, so that broker permissions can follow it; only to dead-letters and the retry ladder does every service
write. Every work queue's name ends in its shard: a tenant's messages go to the shard that its id hashes to, of as many as this process
spreads tenants over. There may be more shards than that, because another process, or this one earlier, spreads them over more: so
whoever asks for queues says of how many shards. Work queues and dead-letter queues are quorum queues; only the type is
declared in code, everything else is a policy (contracts/policies.py), because changing a queue's argument means deleting the queue.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from contracts.catalog import name_of, owner_of
from contracts.desk import HandlingReported, LetterSettled
from contracts.inventory import ProductListed, ShopOpened
from contracts.messages import Command, Event, Message, Question, Reply, Report
from contracts.orders import OrderCancelRequested, OrderCompleted, OrderPlaced
from contracts.sagas import SagaEnded, SagaHalted, SagaResumed
from contracts.values import TenantId

SHARDS: Final = 1
"""Over how many shards tenants are spread unless OAAS_SHARDS says otherwise."""
SHARDS_MAX: Final = 64
PARTICIPANTS: Final = ("tenants", "inventory", "orders", "payments")
COORDINATOR: Final = "sagas"
DESK: Final = "ops"
DEAD_LETTERS: Final = "dead-letters"
REPLAYS: Final = "replays"
RETRY_AFTER_MS: Final = (500, 2_000, 10_000, 60_000, 600_000)
"""The rungs of the retry ladder: how long a message waits after its first, second ... failure in passing; the last repeats."""
RETRY_LANES: Final = (0.8, 1.2)
"""Each rung has one queue per lane, this many times as long: a message's lane is chosen by its id, so that a crowd does not return at once.
A time per message would not do: messages leave a queue in the order in which they came, the shortest time behind the longest."""

SUBSCRIPTIONS: Final[Mapping[str, tuple[type[Event], ...]]] = {
    "sagas": (OrderPlaced, OrderCancelRequested),
    "orders": (ShopOpened, ProductListed),
    "inventory": (OrderCompleted,),
    "tenants": (OrderCompleted,),
    "ops": (SagaHalted, SagaResumed, SagaEnded, HandlingReported, LetterSettled),
}

_spread = SHARDS


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message is published to."""

    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Binding:
    exchange: str
    routing_key: str
    queue: str


@contextmanager
def spread_over(shards: int) -> Iterator[None]:
    """What is written in this process meanwhile is spread over so many shards: a process does this once, around all its work.

    It is a number of the process and not an argument, because all who write must agree on it and none of them has a choice.
    """
    global _spread  # noqa: PLW0603 - one number per process, set once around all its work
    before, _spread = _spread, shards
    try:
        yield
    finally:
        _spread = before


def shard_of(tenant_id: TenantId, shards: int | None = None) -> int:
    """The shard that all messages of the tenant go through, 0 <= shard < shards; the same in every process and release."""
    # Not the id's own bits: of ids that were counted up, or made by hand, all might go through one shard.
    return crc32(tenant_id.bytes) % (shards or _spread)


def address_of(message: type[Message], tenant_id: TenantId, writer: str) -> Address:
    """Where `writer` publishes a message of this class for this tenant.

    Raises TypeError for a Question: whoever asks chooses the queue.
    """
    return address_in(shard_of(tenant_id), message, writer)


def address_in(shard: int, message: type[Message], writer: str) -> Address:
    """As `address_of`, for a tenant of this shard."""
    if issubclass(message, Question):
        raise TypeError(f"{message.__name__} has no address of its own: it goes to replay_address(queue)")
    if issubclass(message, Command):
        return Address(f"{writer}.commands", f"{owner_of(message)}.commands.{shard}")
    if issubclass(message, Reply):
        return Address(f"{writer}.replies", f"{COORDINATOR}.replies.{shard}")
    return Address(f"{writer}.events", f"{name_of(message)}.{shard}")


def dead_letter_address(queue: str) -> Address:
    """Where a letter goes that died on `queue`."""
    return Address(DEAD_LETTERS, queue)


def dead_letter_queue(queue: str) -> str:
    return f"{queue}.dead"


def replay_address(queue: str) -> Address:
    """Where the desk publishes what is to reach exactly this work queue."""
    return Address(REPLAYS, queue)


def retry_address(queue: str, rung: int, lane: int) -> Address:
    """Where an envelope waits on this rung (0 is the shortest wait) before it comes back to `queue`."""
    return Address(_retry_queue(rung, lane), queue)


def retry_queues() -> dict[str, int]:
    """Every queue of the ladder, and for how long messages stay in it, milliseconds."""
    return {_retry_queue(rung, lane): retry_wait_ms(rung, lane) for rung in range(len(RETRY_AFTER_MS)) for lane in range(len(RETRY_LANES))}


def retry_wait_ms(rung: int, lane: int) -> int:
    """How long a message waits on this rung and lane, milliseconds."""
    return int(RETRY_AFTER_MS[rung] * RETRY_LANES[lane])


def _retry_queue(rung: int, lane: int) -> str:
    return f"retry.{RETRY_AFTER_MS[rung]}.{lane}"


def exchanges() -> dict[str, str]:
    """Every exchange and its type."""
    found = {f"{COORDINATOR}.commands": "direct", DEAD_LETTERS: "direct", REPLAYS: "direct"}
    found |= {f"{service}.replies": "direct" for service in PARTICIPANTS}
    found |= {f"{service}.events": "topic" for service in (*PARTICIPANTS, COORDINATOR, DESK)}
    return found | dict.fromkeys(retry_queues(), "fanout")


def queues_of(service: str, shards: int | None = None) -> tuple[str, ...]:
    """The work queues that the service reads, of so many shards; of those that this process spreads tenants over if none are given."""
    return tuple(f"{kind}.{shard}" for kind in _kinds_of(service) for shard in range(shards or _spread))


def work_queues(shards: int | None = None) -> tuple[str, ...]:
    return tuple(queue for service in _SERVICES for queue in queues_of(service, shards))


def is_work_queue(name: str) -> bool:
    """Whether some process may read a queue of this name, whatever the number of shards."""
    kind, _, shard = name.rpartition(".")
    return kind in KINDS and shard.isdecimal() and shard == str(int(shard)) and int(shard) < SHARDS_MAX


def shard_in(work_queue: str) -> int:
    """The shard that the queue is of."""
    return int(work_queue.rpartition(".")[2])


def shards_among(names: Iterable[str]) -> int:
    """How many shards there are if there are queues of these names; other names than those of work queues say nothing."""
    return max((shard_in(name) + 1 for name in names if is_work_queue(name)), default=0)


def sign_of(shard: int) -> str:
    """The queue by which a process recognises that there is this shard."""
    return f"{KINDS[0]}.{shard}"


def _kinds_of(service: str) -> tuple[str, ...]:
    asked = (f"{service}.commands",) if service in PARTICIPANTS else (f"{service}.replies",) if service == COORDINATOR else ()
    return (*asked, f"{service}.events") if service in SUBSCRIPTIONS else asked


_SERVICES: Final = (*PARTICIPANTS, COORDINATOR, DESK)
KINDS: Final = tuple(kind for service in _SERVICES for kind in _kinds_of(service))
"""Work queues without their shard."""


def writers_of(event: type[Event]) -> tuple[str, ...]:
    """The services that publish this event: its owner; anybody, if it is a report to the desk."""
    return _SERVICES if issubclass(event, Report) else (owner_of(event),)


def bindings(shards: int | None = None) -> Iterator[Binding]:
    """Every binding of every queue, dead-letter queues included."""
    for shard in range(shards or _spread):
        for service in PARTICIPANTS:
            yield Binding(f"{COORDINATOR}.commands", f"{service}.commands.{shard}", f"{service}.commands.{shard}")
            yield Binding(f"{service}.replies", f"{COORDINATOR}.replies.{shard}", f"{COORDINATOR}.replies.{shard}")
        for service, events in SUBSCRIPTIONS.items():
            for event in events:
                for writer in writers_of(event):
                    yield Binding(f"{writer}.events", f"{name_of(event)}.{shard}", f"{service}.events.{shard}")
    for queue in work_queues(shards):
        yield Binding(REPLAYS, queue, queue)
        yield Binding(DEAD_LETTERS, queue, dead_letter_queue(queue))
    for queue in retry_queues():
        yield Binding(queue, "", queue)


def dead_letter_queues(shards: int | None = None) -> tuple[str, ...]:
    """One for each work queue."""
    return tuple(dead_letter_queue(queue) for queue in work_queues(shards))


def queues(shards: int | None = None) -> tuple[str, ...]:
    """Every queue there is; all are quorum queues."""
    return (*work_queues(shards), *dead_letter_queues(shards), *retry_queues())
