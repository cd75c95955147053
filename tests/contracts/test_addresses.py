"""Addresses: nothing is published to nowhere, every queue has its policy, and the policy loses nothing."""

import re
from uuid import UUID

import pytest

from contracts import addresses
from contracts.addresses import (
    COORDINATOR,
    DEAD_LETTERS,
    PARTICIPANTS,
    SUBSCRIPTIONS,
    Address,
    Binding,
    address_of,
    bindings,
    dead_letter_queue,
    policies,
    queues,
    replay_address,
    retry_queues,
    retry_wait_ms,
    work_queues,
    writers_of,
)
from contracts.catalog import CATALOG, name_of, owner_of
from contracts.messages import Command, Event, Message, Question
from contracts.values import TenantId

TENANT = TenantId(UUID(int=1))
ALL = sorted(CATALOG)


def writers(message: type[Message]) -> tuple[str, ...]:
    """Who publishes it."""
    if issubclass(message, Event):
        return writers_of(message)
    if issubclass(message, Command):
        return (COORDINATOR,)
    return PARTICIPANTS if owner_of(message) == COORDINATOR else (owner_of(message),)


def published_to(message: type[Message], writer: str) -> list[Address]:
    """Every address it is published to."""
    return [replay_address(queue) for queue in work_queues()] if issubclass(message, Question) else [address_of(message, TENANT, writer)]


def test_every_subscription_has_a_binding_for_every_shard() -> None:
    bound = set(bindings())
    wanted = {
        Binding(f"{writer}.events", f"{name_of(event)}.{shard}", f"{service}.events.{shard}")
        for service, events in SUBSCRIPTIONS.items()
        for event in events
        for writer in writers_of(event)
        for shard in range(addresses.SHARDS)
    }
    assert wanted
    assert wanted <= bound


@pytest.mark.parametrize("name", ALL)
def test_every_message_is_routed_to_a_queue(name: str) -> None:
    message = CATALOG[name]
    for writer in writers(message):
        for address in published_to(message, writer):
            queues = {each.queue for each in bindings() if (each.exchange, each.routing_key) == (address.exchange, address.routing_key)}
            assert queues, f"{name} from {writer} goes nowhere"
            assert queues <= set(work_queues())


def test_a_command_or_reply_is_routed_to_exactly_one_queue() -> None:
    keys = [(each.exchange, each.routing_key) for each in bindings() if not each.exchange.endswith(".events")]
    assert len(keys) == len(set(keys))


def test_every_bound_exchange_is_declared_and_every_queue_is_bound() -> None:
    assert {each.exchange for each in bindings()} <= set(addresses.exchanges())
    dead = {addresses.dead_letter_queue(queue) for queue in work_queues()}
    assert {each.queue for each in bindings()} == set(work_queues()) | dead | set(retry_queues())


def test_no_queue_is_named_twice() -> None:
    assert len(set(work_queues())) == len(work_queues())


def test_every_queue_is_matched_by_exactly_one_policy_and_it_is_named_like_the_queue() -> None:
    assert len(queues()) == 2 * len(work_queues()) + len(retry_queues())
    strangers = ("xinventory.commands.0", "inventory-commands-0", "inventory.commands.00", "retry.500", "retry.500.00")
    for queue in (*queues(), *strangers):
        matching = [name for name, policy in policies().items() if re.search(policy["pattern"], queue)]
        assert matching == ([queue] if queue in queues() else []), queue


@pytest.mark.parametrize("queue", queues())
def test_every_queue_has_a_bound_and_refuses_publishers_when_it_is_full(queue: str) -> None:
    definition = policies()[queue]["definition"]
    assert definition["overflow"] == "reject-publish"
    assert definition["max-length"] > 0
    # So that the broker's disk alarm, which stops everybody, does not come first.
    assert definition["max-length-bytes"] <= 1_000_000_000
    # RabbitMQ 4 has one of its own unless one is set.
    assert definition["delivery-limit"] > 0


@pytest.mark.parametrize("queue", [*work_queues(), *retry_queues()])
def test_every_queue_that_dead_letters_does_so_at_least_once(queue: str) -> None:
    # Only with reject-publish beside it: with drop-head at-least-once silently becomes at-most-once (measured).
    assert policies()[queue]["definition"]["dead-letter-strategy"] == "at-least-once"


@pytest.mark.parametrize("queue", work_queues())
def test_a_dead_letter_stays_however_often_it_is_delivered_in_vain(queue: str) -> None:
    definition = policies()[dead_letter_queue(queue)]["definition"]
    assert "dead-letter-exchange" not in definition
    assert "message-ttl" not in definition
    assert definition["delivery-limit"] >= 1_000_000_000


@pytest.mark.parametrize(("queue", "wait_ms"), retry_queues().items())
def test_what_has_waited_on_the_ladder_goes_to_the_queue_that_its_routing_key_names(queue: str, wait_ms: int) -> None:
    definition = policies()[queue]["definition"]
    assert definition["message-ttl"] == wait_ms
    assert definition["dead-letter-exchange"] == ""
    assert "dead-letter-routing-key" not in definition


def test_a_rung_has_lanes_of_different_length_and_its_address_names_the_queue_to_return_to() -> None:
    waits = [retry_wait_ms(0, lane) for lane in range(len(addresses.RETRY_LANES))]
    assert len(set(waits)) == len(waits) > 1
    assert addresses.retry_address("inventory.commands.0", 0, 1) == Address("retry.500.1", "inventory.commands.0")


@pytest.mark.parametrize("queue", work_queues())
def test_a_letter_that_dies_on_a_queue_reaches_its_dead_letter_queue(queue: str) -> None:
    definition = policies()[queue]["definition"]
    arrived = [
        each.queue
        for each in bindings()
        if (each.exchange, each.routing_key) == (definition["dead-letter-exchange"], definition["dead-letter-routing-key"])
    ]
    assert arrived == [f"{queue}.dead"]
    assert addresses.dead_letter_address(queue) == addresses.Address(
        definition["dead-letter-exchange"], definition["dead-letter-routing-key"]
    )


def test_each_exchange_has_one_writer() -> None:
    writing: dict[str, set[str]] = {}
    for message in CATALOG.values():
        for writer in writers(message):
            for address in published_to(message, writer):
                writing.setdefault(address.exchange, set()).add(writer)
    assert all(len(names) == 1 for names in writing.values()), writing
    own = {exchange: names for exchange, names in writing.items() if exchange != "replays"}
    assert all({exchange.split(".")[0]} == names for exchange, names in own.items())


def test_only_the_desk_writes_to_the_exchange_of_replays_and_every_work_queue_is_bound_to_it() -> None:
    questions = [message for message in CATALOG.values() if issubclass(message, Question)]
    assert questions
    assert all(owner_of(message) == "ops" for message in questions)
    assert {each.queue for each in bindings() if each.exchange == "replays"} == set(work_queues())


def test_every_queue_of_the_ladder_has_an_exchange_of_its_own_that_keeps_the_routing_key() -> None:
    for queue in retry_queues():
        assert [each for each in bindings() if each.queue == queue] == [Binding(queue, "", queue)]
        assert addresses.exchanges()[queue] == "fanout"
    assert DEAD_LETTERS not in retry_queues()


def test_all_messages_of_a_tenant_go_through_one_shard() -> None:
    shard = addresses.shard_of(TENANT)
    assert 0 <= shard < addresses.SHARDS
    for message in CATALOG.values():
        if not issubclass(message, Question):
            assert address_of(message, TENANT, owner_of(message)).routing_key.endswith(f".{shard}")
