"""The number of shards changes while processes run and messages are on the way: every queue is read, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from contracts.addresses import dead_letter_address, dead_letter_queue, replay_address, sign_of, spread_over, work_queues
from contracts.inventory import StockReleased
from contracts.values import OrderId, SagaId
from infra.checks import check
from infra.database import open_pool
from infra.errors import Misconfigured
from infra.sweeper import Sweeper
from infra.topology import shards as module
from infra.topology import topology
from infra.topology.shards import Shards, shards_named
from infra.unscoped.due import OverdueRows
from infra.worker import Worker
from services.inventory.main import SERVICE
from services.ops.main import SERVICE as DESK
from tests.integration.failing import InPassing, Recording, inventory, poisoned_by
from tests.integration.letters import forget_all
from tests.integration.messaging import Stage, items, nobody, parts, reserve, until, working
from tests.integration.sharded import Sharded, a_tenant_of, asks, shards_of

THERE = 4


@pytest.fixture(scope="module")
async def many(open_stage: Stage) -> AsyncIterator[Sharded]:
    """Queues of four shards."""
    found = Sharded(open_stage)
    await found.apply(THERE)
    yield found
    await found.back_to(1)


@pytest.fixture
async def sharded(many: Sharded, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sharded]:
    """Four shards, empty; whatever is added to them is removed again."""
    monkeypatch.setattr(module, "_LOOK_EVERY_S", 0.05)
    await many.empty(THERE)
    await forget_all(stage)
    yield many
    await many.back_to(THERE)


async def answered(stage: Stage, *replies: str) -> None:
    """Wait until so many answers are in these queues of replies."""
    for queue in replies:
        [reply] = items(await stage.read(queue, 1))
        assert reply["type"] == "inventory.OutOfStock.v1"


async def test_a_running_worker_reads_the_shards_that_are_added(sharded: Sharded, tmp_path: Path) -> None:
    async with working(inventory(Recording()), sharded.settings(1), tmp_path):
        await sharded.apply(5)
        for shard in range(5):
            await sharded.stage.publish(asks(shard), reserve(a_tenant_of(shard, 5)))
        assert len(items(await sharded.stage.read("sagas.replies.0", 5))) == 5


@pytest.mark.parametrize("management", [True, False], ids=["asked of the management API", "asked over AMQP"])
async def test_a_worker_that_starts_reads_the_shards_of_former_settings_too(sharded: Sharded, tmp_path: Path, management: bool) -> None:
    for shard in range(4):
        await sharded.stage.publish(asks(shard), reserve(a_tenant_of(shard, 4)))
    settings = sharded.settings(2, **({} if management else {"rabbitmq_management_url": ""}))
    async with working(inventory(Recording()), settings, tmp_path):
        # It answers to where its own setting says.
        for shard in range(2):
            assert len(items(await sharded.stage.read(f"sagas.replies.{shard}", 2))) == 2
        for shard in range(4):
            assert await sharded.stage.waiting(asks(shard).routing_key) == 0


async def test_what_fails_on_a_former_shard_waits_on_the_ladder_and_comes_back_to_it(sharded: Sharded, tmp_path: Path) -> None:
    order, tenant = OrderId(uuid4()), a_tenant_of(2, 4)
    async with working(inventory(Recording(), InPassing(order, times=1)), sharded.settings(1), tmp_path):
        await sharded.stage.publish(asks(2), reserve(tenant, order_id=order))
        await answered(sharded.stage, "sagas.replies.0")


async def test_what_dies_on_a_former_shard_comes_to_the_desk_and_is_sent_again_there(sharded: Sharded, tmp_path: Path) -> None:
    order, tenant = OrderId(uuid4()), a_tenant_of(2, 4)
    queue, one = asks(2).routing_key, sharded.settings(1)
    async with working(inventory(Recording(), poisoned_by(order)), one, tmp_path):
        await sharded.stage.publish(asks(2), ask := reserve(tenant, order_id=order))
        [fault] = items(await sharded.stage.read("sagas.replies.0", 1))
        assert fault["type"] == "sagas.StepFaulted.v1"

    async def taken_in() -> bool:
        rows = await sharded.stage.rows("SELECT queue FROM ops.letter WHERE message_id = $1", ask.id)
        return [row["queue"] for row in rows] == [queue] and await sharded.stage.waiting(dead_letter_queue(queue)) == 0

    async with working(DESK, one, tmp_path):
        await until(taken_in, lambda: "the letter is not with the desk")
    async with working(inventory(Recording()), one, tmp_path):
        await sharded.stage.publish(replay_address(queue), ask)
        await answered(sharded.stage, "sagas.replies.0")


async def test_a_running_desk_takes_in_the_letters_of_shards_that_are_added(sharded: Sharded, tmp_path: Path) -> None:
    queue = asks(4).routing_key
    async with working(DESK, sharded.settings(1), tmp_path):
        await sharded.apply(5)
        await sharded.stage.publish(dead_letter_address(queue), reserve(a_tenant_of(4, 5)))

        async def taken_in() -> bool:
            return [row["queue"] for row in await sharded.stage.rows("SELECT queue FROM ops.letter")] == [queue]

        await until(taken_in, lambda: "the letter is not with the desk")


async def test_what_a_process_with_more_shards_left_in_its_outbox_is_sent_by_one_with_fewer(sharded: Sharded) -> None:
    tenant = a_tenant_of(2, 4)
    async with parts(sharded.settings(4), hand_over=nobody) as dying:
        with spread_over(4):
            async with dying.transaction(tenant) as scope:
                scope.send(StockReleased(), subject="test", sagaid=SagaId(uuid4()), commandid=uuid4())
    await sharded.stage.administrator.execute("UPDATE inventory.outbox SET due_at = now()")
    one = sharded.settings(1)
    pool = open_pool(one, "inventory", "sweeper", 2)
    async with parts(one) as alive:
        assert await Sweeper(alive.transaction, alive.relay, OverdueRows("inventory", pool, 60), one).sweep() == 1
        assert len(items(await sharded.stage.read("sagas.replies.2", 1))) == 1
    await pool.dispose()


async def test_a_message_to_a_shard_that_is_not_there_yet_waits_in_the_outbox_for_it(sharded: Sharded, tmp_path: Path) -> None:
    hasty = sharded.settings(1, resend_after_s=0.2)
    async with working(inventory(Recording()), hasty, tmp_path):
        with spread_over(5):
            await sharded.stage.publish(asks(0), reserve(a_tenant_of(4, 5)))

            async def is_left() -> bool:
                return len(await sharded.stage.rows("SELECT id FROM inventory.outbox WHERE routing_key = 'sagas.replies.4'")) == 1

            await until(is_left, lambda: "nothing is left in the outbox")
        await sharded.apply(5)
        await answered(sharded.stage, "sagas.replies.4")


async def test_a_worker_reads_only_the_shards_that_it_is_told_to(sharded: Sharded, tmp_path: Path) -> None:
    first, second = Recording(), Recording()
    async with (
        working(inventory(first), sharded.settings(4, consumes="0,2"), tmp_path),
        working(inventory(second), sharded.settings(4, consumes="1,3-"), tmp_path),
    ):
        for shard in range(4):
            await sharded.stage.publish(asks(shard), reserve(a_tenant_of(shard, 4), order_id=OrderId(UUID(int=shard))))
        for shard in range(4):
            await answered(sharded.stage, f"sagas.replies.{shard}")
    seen = [{order.int for group in each.groups for order in group} for each in (first, second)]
    assert seen == [{0, 2}, {1, 3}]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("", {0, 1, 2, 3, 4, 63}), ("0", {0}), ("1,3", {1, 3}), ("1-3", {1, 2, 3}), ("0,3-", {0, 3, 4, 63})],
)
def test_shards_are_named_by_numbers_and_spans(words: str, wanted: set[int]) -> None:
    reads = shards_named(words)
    assert {shard for shard in (0, 1, 2, 3, 4, 63) if reads(shard)} == wanted


async def test_adding_shards_says_what_it_does_and_taking_them_away_keeps_their_queues(sharded: Sharded) -> None:
    done = await sharded.apply(5)
    assert {line.split(":")[0] for line in done} >= {f"queue {queue}" for queue in set(work_queues(5)) - set(work_queues(4))}
    await sharded.stage.publish(asks(4), reserve(a_tenant_of(4, 5)))
    assert await sharded.apply(4) == await sharded.apply(1) == []
    assert shards_of(await sharded.names()) == {0, 1, 2, 3, 4}
    kept = set(work_queues(5)) - set(work_queues(4))

    async def counted() -> bool:
        return await topology.former_shards(sharded.settings(4)) == dict.fromkeys(kept, 0) | {asks(4).routing_key: 1}

    await until(counted, lambda: "what waits is not counted")
    assert await topology.former_shards(sharded.settings(5)) == {}


async def test_the_queues_of_former_shards_are_checked_like_all_others(sharded: Sharded) -> None:
    await sharded.stage.management("DELETE", f"/api/policies/{sharded.stage.vhost}/inventory.commands")
    [found] = await check(["topology"], sharded.settings(1))
    assert not found.ok
    assert "inventory.commands" in found.detail
    assert len(await sharded.apply(1)) == 1
    [found] = await check(["topology"], sharded.settings(1))
    assert found.ok


async def test_a_worker_with_more_shards_than_there_are_refuses_to_start_and_declares_nothing(sharded: Sharded) -> None:
    before = await sharded.names()
    with pytest.raises(Misconfigured, match=r"queue inventory.commands.4: is missing.*oaas topology apply"):
        await Worker([SERVICE], sharded.settings(5)).run()
    assert await sharded.names() == before


async def test_a_worker_starts_while_the_queues_of_more_shards_are_being_added(sharded: Sharded, tmp_path: Path) -> None:
    await sharded.stage.management("DELETE", f"/api/queues/{sharded.stage.vhost}/tenants.events.3")
    async with working(inventory(Recording()), sharded.settings(1), tmp_path):
        await sharded.stage.publish(asks(1), reserve(a_tenant_of(1, 4)))
        await answered(sharded.stage, "sagas.replies.0")


async def test_shards_are_counted_up_to_the_first_that_is_not_there() -> None:
    there = {sign_of(shard) for shard in (1, 2, 3, 5)}

    async def has(queue: str) -> bool:
        return queue in there

    shards = Shards(1)
    waiting = asyncio.create_task(shards.beyond(2))
    await shards.count_by(has)
    assert (shards.count, await waiting) == (4, 4)
