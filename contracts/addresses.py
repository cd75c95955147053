"""Every exchange, queue, binding and dead-letter rule, on one screen.

    writer's exchange           routing key            queue               who reads it
    sagas.commands   (direct)   inventory.commands.0   inventory.commands.0  inventory
    <service>.replies(direct)   sagas.replies.0        sagas.replies.0       sagas
    <service>.events (topic)    <message name>.0       <service>.events.0    whoever is in SUBSCRIPTIONS
    dead-letters     (direct)   <queue>                <queue>.dead          the operators' desk

Each exchange has one writer, so that broker permissions can follow it. Every work queue's name ends in its shard: a tenant's
messages always go to the shard its id hashes to. Work queues and dead-letter queues are quorum queues; only the type is
declared in code, everything else is a policy, because changing a queue's argument means deleting the queue.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.catalog import name_of, owner_of
from contracts.inventory import ProductListed, ShopOpened
from contracts.messages import Command, Event, Message, Reply
from contracts.orders import OrderCancelRequested, OrderCompleted, OrderPlaced
from contracts.values import TenantId

SHARDS: Final = 1
PARTICIPANTS: Final = ("tenants", "inventory", "orders", "payments")
COORDINATOR: Final = "sagas"
DEAD_LETTERS: Final = "dead-letters"

SUBSCRIPTIONS: Final[Mapping[str, tuple[type[Event], ...]]] = {
    "sagas": (OrderPlaced, OrderCancelRequested),
    "orders": (ShopOpened, ProductListed),
    "inventory": (OrderCompleted,),
    "tenants": (OrderCompleted,),
}

DELIVERIES_MAX: Final = 20
QUEUE_LENGTH_MAX: Final = 1_000_000
"""Envelope frames a work queue holds before it refuses publishers (who keep them in the outbox)."""


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


def shard_of(tenant_id: TenantId) -> int:
    """The shard that all messages of the tenant go through, 0 <= shard < SHARDS."""
    return tenant_id.int % SHARDS


def address_of(message: type[Message], tenant_id: TenantId, writer: str) -> Address:
    """Where `writer` publishes a message of this class for this tenant."""
    shard = shard_of(tenant_id)
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


def exchanges() -> dict[str, str]:
    """Every exchange and its type."""
    found = {f"{COORDINATOR}.commands": "direct", DEAD_LETTERS: "direct"}
    for service in PARTICIPANTS:
        found |= {f"{service}.replies": "direct", f"{service}.events": "topic"}
    return found


def queues_of(service: str) -> tuple[str, ...]:
    """The work queues that the service reads."""
    asked = f"{service}.replies" if service == COORDINATOR else f"{service}.commands"
    heard = (f"{service}.events",) if service in SUBSCRIPTIONS else ()
    return tuple(f"{kind}.{shard}" for kind in (asked, *heard) for shard in range(SHARDS))


def work_queues() -> tuple[str, ...]:
    return tuple(queue for service in (*PARTICIPANTS, COORDINATOR) for queue in queues_of(service))


def bindings() -> Iterator[Binding]:
    """Every binding of every queue, dead-letter queues included."""
    for shard in range(SHARDS):
        for service in PARTICIPANTS:
            yield Binding(f"{COORDINATOR}.commands", f"{service}.commands.{shard}", f"{service}.commands.{shard}")
            yield Binding(f"{service}.replies", f"{COORDINATOR}.replies.{shard}", f"{COORDINATOR}.replies.{shard}")
        for service, events in SUBSCRIPTIONS.items():
            for event in events:
                yield Binding(f"{owner_of(event)}.events", f"{name_of(event)}.{shard}", f"{service}.events.{shard}")
    for queue in work_queues():
        yield Binding(DEAD_LETTERS, queue, dead_letter_queue(queue))


def policies() -> dict[str, dict[str, Any]]:
    """Policy name -> body, for the broker's management API: one per work queue.

    At-least-once dead lettering needs reject-publish beside it: with drop-head it silently becomes lossy.
    """
    return {
        queue: {
            "pattern": "^" + queue.replace(".", r"\.") + "$",
            "apply-to": "queues",
            "priority": 10,
            "definition": {
                "dead-letter-exchange": DEAD_LETTERS,
                "dead-letter-routing-key": queue,
                "dead-letter-strategy": "at-least-once",
                "delivery-limit": DELIVERIES_MAX,
                "max-length": QUEUE_LENGTH_MAX,
                "overflow": "reject-publish",
            },
        }
        for queue in work_queues()
    }
