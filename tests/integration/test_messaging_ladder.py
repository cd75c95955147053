"""The retry ladder on the real broker: what fails in passing waits there, comes back by itself, and ends within its bounds."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from contracts import headers
from contracts.addresses import Address, dead_letter_queue, retry_queues
from contracts.catalog import name_of
from contracts.messages import Envelope, Event
from contracts.orders import OrderCompleted
from contracts.values import OrderId, TenantId
from infra import clock
from infra.transaction import Scope
from tests.integration.failing import InPassing, Recording, inventory, one_batch, order_of, poisoned_by, retried
from tests.integration.messaging import COMMANDS, REPLIES, Stage, envelope, items, reserve, until, working

QUEUE: Final = COMMANDS.routing_key
DEAD: Final = dead_letter_queue(QUEUE)
EVENTS: Final = Address("orders.events", f"{name_of(OrderCompleted)}.0")
EVENT_QUEUE: Final = "inventory.events.0"
WAITED_OUT_MS: Final = 12_000
"""Longer waits a test has no time for: what is looked at is that they are set, and with a shorter one that the way back is there."""


async def test_each_rung_keeps_what_it_gets_for_its_time_and_gives_it_back_to_its_queue(stage: Stage) -> None:
    slow = {name: ms for name, ms in retry_queues().items() if ms > WAITED_OUT_MS}
    assert await times_of(stage, slow) == slow
    hurry = {"pattern": rf"^retry\.({'|'.join(name.split('.')[1] for name in slow)})\.", "apply-to": "queues", "priority": 99}
    hurry |= {"definition": {"message-ttl": 100, "dead-letter-exchange": "", "overflow": "reject-publish"}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/hurry", hurry)
    waits = {name: 100 if name in slow else wait_ms for name, wait_ms in retry_queues().items()}
    ids = {str((asked := reserve(TenantId(uuid4()))).id): (name, asked) for name in waits}
    loop = asyncio.get_running_loop()
    sent: dict[str, float] = {}
    for id, (name, asked) in ids.items():
        sent[id] = loop.time()
        await stage.publish(Address(name, QUEUE), asked, headers={headers.ATTEMPT: 1})
    came: dict[str, float] = {}
    source = await stage.client.get_queue(QUEUE, ensure=False)

    async def all_came() -> bool:
        while (message := await source.get(no_ack=True, fail=False)) is not None:
            [item] = items([message])
            came[item["id"]] = loop.time() - sent[item["id"]]
            assert message.headers[headers.ATTEMPT] == 1
        return len(came) == len(ids)

    await until(all_came, lambda: f"only {[ids[id][0] for id in came]} came back")
    wrong = {ids[id][0]: took_s for id, took_s in came.items() if not -0.05 < took_s - waits[ids[id][0]] / 1000 < 5}
    assert not wrong


async def times_of(stage: Stage, queues: Iterable[str]) -> dict[str, int]:
    """For how long each of these queues really keeps a message, milliseconds."""
    found: dict[str, int] = {}

    async def told() -> bool:
        for queue in await stage.management("GET", f"/api/queues/{stage.vhost}"):
            # The management API knows it only after its statistics were collected once.
            if queue["name"] in queues and "effective_policy_definition" in queue:
                found[queue["name"]] = queue["effective_policy_definition"]["message-ttl"]
        return found.keys() == set(queues)

    await until(told, lambda: f"only {found} have a policy")
    return found


async def test_what_fails_in_passing_is_counted_from_rung_to_rung_until_it_succeeds(stage: Stage, tmp_path: Path) -> None:
    repository = Recording()
    ask = reserve(TenantId(uuid4()))
    async with working(inventory(repository, InPassing(order_of(ask), times=2)), stage.settings, tmp_path):
        await stage.publish(COMMANDS, ask)
        [reply] = items(await stage.read(REPLIES, 1))
    assert reply["commandid"] == str(ask.id)
    first, second, third = repository.at
    assert second - first > 0.35
    assert third - second > 1.5
    assert await stage.waiting(DEAD) == 0


async def test_whoever_fails_alone_waits_alone(stage: Stage, tmp_path: Path) -> None:
    """Those in its batch are handled at once, also when some of them come from the ladder, with other numbers of tries."""
    tenant_id = TenantId(uuid4())
    asks = [reserve(tenant_id) for _ in range(8)]
    trouble, tried = asks[3], asks[5:]
    repository = Recording()
    # Of eight, of four, of two, and alone.
    async with working(inventory(repository, InPassing(order_of(trouble), times=4)), stage.settings, tmp_path):
        async with one_batch(stage, repository, COMMANDS):
            await stage.publish(COMMANDS, *asks[:5])
            for number, ask in enumerate(tried):
                await stage.publish(COMMANDS, ask, headers={headers.ATTEMPT: number})
        at_once = items(await stage.read(REPLIES, 8))
        assert {str(ask.id) for ask in asks} - {reply["commandid"] for reply in at_once} == {str(trouble.id)}
        assert [reply["commandid"] for reply in items(await stage.read(REPLIES, 1))] == [str(trouble.id)]


async def test_a_batch_with_envelopes_of_several_tries_parks_each_with_its_own_number(stage: Stage, tmp_path: Path) -> None:
    asks = [reserve(TenantId(uuid4())) for _ in range(3)]
    for tries, ask in enumerate(asks):
        await stage.publish(COMMANDS, ask, headers={headers.ATTEMPT: tries})
    settings = stage.settings.model_copy(update={"retries_max": 1})
    async with working(inventory(Recording(), InPassing(*map(order_of, asks))), settings, tmp_path):
        letters = await stage.read(DEAD, 3)
    # The first has waited once more than it had when it came.
    assert sorted(int(str(letter.headers[headers.ATTEMPT])) for letter in letters) == [2, 2, 3]


async def test_a_command_never_outlives_its_time_and_its_saga_is_told(stage: Stage, tmp_path: Path) -> None:
    repository, ask, loop = Recording(), reserve(TenantId(uuid4())), asyncio.get_running_loop()
    async with working(inventory(repository, InPassing(order_of(ask))), stage.settings, tmp_path):
        end = loop.time() + 2
        await stage.publish(COMMANDS, ask.model_copy(update={"expires": clock.now() + timedelta(seconds=2)}))
        [letter] = await stage.read(DEAD, 1)
        parked_at = loop.time()
        [fault] = items(await stage.read(REPLIES, 1))
    # On the shortest rung, again and again: the next one would be too long.
    assert 2 <= len(repository.at) <= 6
    assert parked_at < end + 3
    assert letter.headers[headers.ATTEMPT] == len(repository.at)
    assert letter.headers[headers.EXCEPTION_TYPE] == "Retryable"
    assert (fault["type"], fault["commandid"]) == ("sagas.StepFaulted.v1", str(ask.id))


async def test_a_command_whose_time_is_over_is_tried_once(stage: Stage, tmp_path: Path) -> None:
    repository = Recording()
    ask = reserve(TenantId(uuid4())).model_copy(update={"expires": clock.now() - timedelta(seconds=1)})
    async with working(inventory(repository, InPassing(order_of(ask))), stage.settings, tmp_path):
        await stage.publish(COMMANDS, ask)
        [letter] = await stage.read(DEAD, 1)
    assert len(repository.groups) == letter.headers[headers.ATTEMPT] == 1


async def test_an_event_that_always_fails_ends_as_a_letter_and_no_saga_is_told(stage: Stage, tmp_path: Path) -> None:
    repository, order_id = Recording(), OrderId(uuid4())
    completed = happened(OrderCompleted(order_id=order_id))
    settings = stage.settings.model_copy(update={"retries_max": 2})
    async with working(inventory(repository, InPassing(order_id)), settings, tmp_path):
        await stage.publish(EVENTS, completed)
        [letter] = await stage.read(dead_letter_queue(EVENT_QUEUE), 1)
    assert repository.groups == [[order_id]] * 3
    assert letter.headers[headers.ATTEMPT] == 3
    assert letter.headers[headers.ORIGIN_QUEUE] == EVENT_QUEUE
    assert await stage.waiting(REPLIES) == 0


async def test_a_bug_and_what_cannot_be_read_never_wait(stage: Stage, tmp_path: Path) -> None:
    poison = reserve(TenantId(uuid4()))
    broken = reserve(TenantId(uuid4())).model_dump_json(exclude_none=True).replace('"quantity":1', '"quantity":-1')
    async with working(inventory(Recording(), poisoned_by(order_of(poison))), stage.settings, tmp_path):
        await stage.publish(COMMANDS, poison, broken)
        letters = await stage.read(DEAD, 2)
        assert [await stage.waiting(queue) for queue in retry_queues()] == [0] * len(retry_queues())
    assert {letter.headers[headers.ATTEMPT] for letter in letters} == {1}


async def test_what_this_release_does_not_know_of_a_message_waits_with_it(stage: Stage, tmp_path: Path) -> None:
    """During a rolling deploy a message of the next release may fail in passing at a process of this one."""
    ask = reserve(TenantId(uuid4()))
    newer = ask.model_dump_json(exclude_none=True).replace('"specversion"', '"priority":"high","specversion"')
    newer = newer.replace('"order_id"', '"gift_wrap":[1,2.5,null],"order_id"')
    settings = stage.settings.model_copy(update={"retries_max": 1})
    async with working(inventory(Recording(), InPassing(order_of(ask))), settings, tmp_path):
        await stage.publish(COMMANDS, newer)
        [letter] = await stage.read(DEAD, 1)
    [item] = items([letter])
    assert letter.headers[headers.ATTEMPT] == 2
    assert (item["priority"], item["data"]["gift_wrap"]) == ("high", [1, 2.5, None])


class OppositeLocks(Recording):
    """Takes two locks, now in one order and now in the other: two workers that do this deadlock, really. Some fail to serialize, too."""

    async def load(self, scope: Scope, received: Sequence[Envelope]) -> None:
        await super().load(scope, received)
        if self.tries[order_of(received[0])] <= 3 and order_of(received[0]).int % 5 == 0:
            await scope.connection.execute("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
        for lock in (1, 2) if len(self.groups) % 2 else (2, 1):
            await scope.connection.execute("SELECT pg_advisory_xact_lock($1)", lock)
            await scope.connection.execute("SELECT pg_sleep(0.01)")


async def test_two_workers_that_conflict_again_and_again_handle_everything_in_the_end(stage: Stage, tmp_path: Path) -> None:
    # Each try at once is one conflict more, so that many of them end on the ladder.
    settings = stage.settings.model_copy(update={"conflicts_max": 1, "prefetch_frames": 1})
    database = (await stage.rows("SELECT current_database() AS name"))[0]["name"]
    await stage.administrator.execute(f"ALTER DATABASE {database} SET deadlock_timeout = '20ms'")
    asks = [reserve(TenantId(uuid4()), order_id=OrderId(UUID(int=uuid4().int // 5 * 5 + number % 5))) for number in range(60)]
    repository = OppositeLocks()
    before = retried()
    try:
        for ask in asks:
            await stage.publish(COMMANDS, ask)
        service = inventory(repository)
        async with working(service, settings, tmp_path), working(service, settings, tmp_path):
            replies = items(await stage.read(REPLIES, len(asks)))
    finally:
        await stage.administrator.execute(f"ALTER DATABASE {database} RESET deadlock_timeout")
    assert {reply["commandid"] for reply in replies} == {str(ask.id) for ask in asks}
    assert {reply["type"] for reply in replies} == {"inventory.OutOfStock.v1"}
    assert await stage.waiting(DEAD) == 0
    assert len(repository.groups) > len(asks), "nobody conflicted with anybody"
    assert retried() > before, "nobody waited on the ladder"


def happened(event: Event) -> Envelope:
    """The event as its service publishes it: no saga waits for anything."""
    return envelope(TenantId(uuid4()), event).model_copy(update={"sagaid": None})
