"""Addresses: nothing is published to nowhere, every queue has its policy, and the policy loses nothing."""

import re
from uuid import UUID

import pytest

from contracts import addresses
from contracts.addresses import COORDINATOR, PARTICIPANTS, SUBSCRIPTIONS, Binding, address_of, bindings, policies, work_queues
from contracts.catalog import CATALOG, name_of, owner_of
from contracts.messages import Command, Reply
from contracts.values import TenantId

TENANT = TenantId(UUID(int=1))
ALL = sorted(CATALOG)


def test_every_subscription_has_a_binding_for_every_shard() -> None:
    bound = set(bindings())
    wanted = {
        Binding(f"{owner_of(event)}.events", f"{name_of(event)}.{shard}", f"{service}.events.{shard}")
        for service, events in SUBSCRIPTIONS.items()
        for event in events
        for shard in range(addresses.SHARDS)
    }
    assert wanted
    assert wanted <= bound


@pytest.mark.parametrize("name", ALL)
def test_every_message_is_routed_to_a_queue(name: str) -> None:
    message = CATALOG[name]
    writer = COORDINATOR if issubclass(message, Command) else owner_of(message)
    for one in PARTICIPANTS if issubclass(message, Reply) and writer == COORDINATOR else (writer,):
        address = address_of(message, TENANT, one)
        queues = {each.queue for each in bindings() if (each.exchange, each.routing_key) == (address.exchange, address.routing_key)}
        assert queues, f"{name} from {one} goes nowhere"
        assert queues <= set(work_queues())


def test_a_command_or_reply_is_routed_to_exactly_one_queue() -> None:
    keys = [(each.exchange, each.routing_key) for each in bindings() if not each.exchange.endswith(".events")]
    assert len(keys) == len(set(keys))


def test_every_bound_exchange_is_declared_and_every_queue_is_bound() -> None:
    assert {each.exchange for each in bindings()} <= set(addresses.exchanges())
    dead = {addresses.dead_letter_queue(queue) for queue in work_queues()}
    assert {each.queue for each in bindings()} == set(work_queues()) | dead


def test_no_queue_is_named_twice() -> None:
    assert len(set(work_queues())) == len(work_queues())


def test_every_work_queue_is_matched_by_exactly_one_policy_and_dead_letter_queues_by_none() -> None:
    dead = [addresses.dead_letter_queue(queue) for queue in work_queues()]
    for queue in (*work_queues(), *dead, "xinventory.commands.0", "inventory-commands-0", "inventory.commands.00"):
        matching = [name for name, policy in policies().items() if re.search(policy["pattern"], queue)]
        assert matching == ([queue] if queue in work_queues() else []), queue


@pytest.mark.parametrize("queue", work_queues())
def test_every_policy_dead_letters_at_least_once_and_refuses_publishers_when_full(queue: str) -> None:
    definition = policies()[queue]["definition"]
    assert definition["dead-letter-strategy"] == "at-least-once"
    # With drop-head at-least-once silently becomes at-most-once (measured).
    assert definition["overflow"] == "reject-publish"
    assert definition["max-length"] > 0
    assert definition["delivery-limit"] > 0


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
    writers: dict[str, set[str]] = {}
    for message in CATALOG.values():
        writer = COORDINATOR if issubclass(message, Command) else owner_of(message)
        writers.setdefault(address_of(message, TENANT, writer).exchange, set()).add(writer)
    assert all(exchange.split(".")[0] in writing and len(writing) == 1 for exchange, writing in writers.items())


def test_all_messages_of_a_tenant_go_through_one_shard() -> None:
    shard = addresses.shard_of(TENANT)
    assert 0 <= shard < addresses.SHARDS
    for message in CATALOG.values():
        assert address_of(message, TENANT, owner_of(message)).routing_key.endswith(f".{shard}")
