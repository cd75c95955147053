"""Addresses: nothing is published to nowhere, every queue has its policy, and the policy loses nothing."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
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
    queues,
    queues_of,
    replay_address,
    retry_queues,
    retry_wait_ms,
    spread_over,
    work_queues,
    writers_of,
)
from contracts.catalog import CATALOG, name_of, owner_of
from contracts.messages import Command, Event, Message, Question
from contracts.policies import policies, policy_of
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


@pytest.mark.parametrize("shards", [1, 12, addresses.SHARDS_MAX])
def test_every_queue_is_matched_by_exactly_one_policy_however_many_shards_there_are(shards: int) -> None:
    assert len(queues(shards)) == 2 * len(work_queues(shards)) + len(retry_queues())
    strangers = (
        "xinventory.commands.0",
        "inventory-commands-0",
        "inventory.commands.00",
        "inventory.commands.0.deadx",
        "retry.500",
        "retry.500.00",
    )
    for queue in (*queues(shards), *strangers):
        matching = [name for name, policy in policies().items() if re.search(policy["pattern"], queue)]
        assert matching == ([policy_of(queue)] if queue in queues(shards) else []), queue


@pytest.mark.parametrize("queue", queues())
def test_every_queue_has_a_bound_and_refuses_publishers_when_it_is_full(queue: str) -> None:
    definition = policies()[policy_of(queue)]["definition"]
    assert definition["overflow"] == "reject-publish"
    assert definition["max-length"] > 0
    # So that the broker's disk alarm, which stops everybody, does not come first.
    assert definition["max-length-bytes"] <= 1_000_000_000
    # RabbitMQ 4 has one of its own unless one is set.
    assert definition["delivery-limit"] > 0


@pytest.mark.parametrize("queue", [*work_queues(), *retry_queues()])
def test_every_queue_that_dead_letters_does_so_at_least_once(queue: str) -> None:
    # Only with reject-publish beside it: with drop-head at-least-once silently becomes at-most-once (measured).
    assert policies()[policy_of(queue)]["definition"]["dead-letter-strategy"] == "at-least-once"


@pytest.mark.parametrize("queue", work_queues())
def test_a_dead_letter_stays_however_often_it_is_delivered_in_vain(queue: str) -> None:
    definition = policies()[policy_of(dead_letter_queue(queue))]["definition"]
    assert "dead-letter-exchange" not in definition
    assert "message-ttl" not in definition
    assert definition["delivery-limit"] >= 1_000_000_000


@pytest.mark.parametrize(("queue", "wait_ms"), retry_queues().items())
def test_what_has_waited_on_the_ladder_goes_to_the_queue_that_its_routing_key_names(queue: str, wait_ms: int) -> None:
    definition = policies()[policy_of(queue)]["definition"]
    assert definition["message-ttl"] == wait_ms
    assert definition["dead-letter-exchange"] == ""
    assert "dead-letter-routing-key" not in definition


def test_a_rung_has_lanes_of_different_length_and_its_address_names_the_queue_to_return_to() -> None:
    waits = [retry_wait_ms(0, lane) for lane in range(len(addresses.RETRY_LANES))]
    assert len(set(waits)) == len(waits) > 1
    assert addresses.retry_address("inventory.commands.0", 0, 1) == Address("retry.500.1", "inventory.commands.0")


@pytest.mark.parametrize("queue", work_queues(3))
def test_a_letter_that_dies_on_a_queue_reaches_a_dead_letter_queue_of_the_same_reader(queue: str) -> None:
    bound = {(each.exchange, each.routing_key): each.queue for each in bindings(3)}
    own = addresses.dead_letter_address(queue)
    assert bound[own.exchange, own.routing_key] == f"{queue}.dead"
    # What the broker itself gives up goes to that of the first shard, of the same service: a policy is for all shards.
    definition = policies()[policy_of(queue)]["definition"]
    native = bound[definition["dead-letter-exchange"], definition["dead-letter-routing-key"]]
    assert native == f"{queue.rpartition('.')[0]}.0.dead"


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


CHANGES = [(1, 8), (8, 1), (8, 32), (32, 8), (3, 5), (1, 64), (64, 1)]
"""Numbers of shards, before and after."""


def any_tenants(count: int) -> list[TenantId]:
    return [TenantId(UUID(bytes=hashlib.md5(str(number).encode()).digest())) for number in range(count)]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_whatever_was_addressed_before_a_change_is_routed_to_a_queue_that_somebody_reads_after_it(before: int, after: int) -> None:
    there = max(before, after)
    read = {queue for service in (*PARTICIPANTS, COORDINATOR, addresses.DESK) for queue in addresses.queues_of(service, there)}
    bound: dict[Address, set[str]] = {}
    for each in bindings(there):
        bound.setdefault(Address(each.exchange, each.routing_key), set()).add(each.queue)
    for shards in (before, after):
        with spread_over(shards):
            for tenant in any_tenants(200):
                for name in ALL:
                    message = CATALOG[name]
                    if not issubclass(message, Question):
                        to = [bound[address_of(message, tenant, writer)] for writer in writers(message)]
                        assert all(queues and queues <= read for queues in to), name


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_was_retried_replayed_or_dead_before_a_change_finds_its_queue_after_it(before: int, after: int) -> None:
    there = max(before, after)
    bound = {(each.exchange, each.routing_key): each.queue for each in bindings(there)}
    for queue in work_queues(before):
        assert queue in work_queues(there)
        assert bound[replay_address(queue).exchange, queue] == queue
        assert bound[DEAD_LETTERS, queue] in addresses.dead_letter_queues(there)
        assert addresses.retry_address(queue, 0, 0).routing_key == queue


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_change_moves_no_more_tenants_than_it_must(before: int, after: int) -> None:
    moved = sum(addresses.shard_of(tenant, before) != addresses.shard_of(tenant, after) for tenant in any_tenants(2_000))
    if max(before, after) % min(before, after) == 0:
        # Those of a shard that stays are split, or come together again: a tenant that keeps its shard keeps its order as well.
        assert moved / 2_000 == pytest.approx(1 - min(before, after) / max(before, after), abs=0.05)


@pytest.mark.parametrize("shards", [2, 3, 8, 32, 64])
@pytest.mark.parametrize(
    "made",
    [
        lambda number: UUID(bytes=hashlib.md5(str(number).encode()).digest(), version=4).int,
        lambda number: number,
        lambda number: number << 64,
        lambda number: number << 80,
        lambda number: number * 64 * 81 * 5 * 7,
    ],
    ids=["at random", "counted up", "counted in the middle", "counted in front", "multiples"],
)
def test_tenants_are_spread_evenly_however_their_ids_are_made(made: Callable[[int], int], shards: int) -> None:
    count = 200 * shards
    found = Counter(addresses.shard_of(TenantId(UUID(int=made(number))), shards) for number in range(count))
    assert set(found) == set(range(shards))
    assert max(found.values()) < 1.5 * count / shards


def test_a_tenants_shard_is_the_same_in_every_process_and_release() -> None:
    tenants = [TenantId(UUID(int=number)) for number in (0, 1, 2, 2**127)]
    assert [addresses.shard_of(tenant, 64) for tenant in tenants] == [21, 3, 57, 33]


def test_the_number_that_a_process_writes_with_ends_with_its_work() -> None:
    with spread_over(8):
        assert len(queues_of("inventory")) == 16
        assert {addresses.shard_of(tenant) for tenant in any_tenants(100)} == set(range(8))
        with spread_over(2):
            assert len(queues_of("inventory")) == 4
        assert len(queues_of("inventory")) == 16
    assert len(queues_of("inventory")) == 2 * addresses.SHARDS


def test_a_work_queue_is_known_by_its_name_whatever_the_number_of_shards() -> None:
    everything = work_queues(addresses.SHARDS_MAX)
    assert all(map(addresses.is_work_queue, everything))
    assert addresses.shards_among([*work_queues(5), "billing.commands.63", "tenants.replies.9"]) == 5
    strangers = ["inventory.commands", "inventory.commands.64", "inventory.commands.00", "inventory.commands.-1", "inventory.commands.٣"]
    strangers += ["inventory.commands.0.dead", "inventory.replies.0", "retry.500.0", "billing.events.0", "", "0", ".0"]
    assert not any(map(addresses.is_work_queue, strangers))
