"""What the operators' desk sends again, and what it hears of it on every way through the edge: settled, known already, or dead again."""

from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from contracts import headers
from contracts.addresses import dead_letter_queue, queues_of, replay_address
from contracts.payments import AuthorisePayment
from contracts.values import OrderId, TenantId
from infra.batch import Batches
from infra.deliveries import Replay
from services.inventory.consumers import HANDLES
from services.inventory.main import SERVICE
from services.payments.main import SERVICE as PAYMENTS
from tests.integration.failing import InPassing, Recording, inventory, one_batch, order_of, poisoned_by
from tests.integration.messaging import (
    COMMANDS,
    REPLIES,
    Stage,
    a_tenant,
    envelope,
    items,
    levels,
    nobody,
    parts,
    reserve,
    take_and_die,
    working,
)

SOME_ID: Final = "018f3a52-7c1e-7000-8000-000000000001"

QUEUE: Final = COMMANDS.routing_key
DEAD: Final = dead_letter_queue(QUEUE)
AGAIN: Final = replay_address(QUEUE)
[DESK] = queues_of("ops")


def a_replay() -> Replay:
    return Replay(uuid4(), uuid4())


def told(replay: Replay) -> dict[str, Any]:
    return {headers.REPLAY: str(replay)}


async def reports(stage: Stage, count: int) -> dict[Replay, list[bool]]:
    """What the desk is told: for each replay, whether the message had been handled before."""
    found: dict[Replay, list[bool]] = {}
    for item in items(await stage.read(DESK, count)):
        assert item["type"] == "ops.LetterSettled.v1"
        data = item["data"]
        found.setdefault(Replay(UUID(data["replay_id"]), UUID(data["letter_id"])), []).append(data["was_known"])
    return found


async def test_a_replay_is_reported_in_the_commit_of_its_effect(stage: Stage) -> None:
    """Nobody publishes here, so that both are still in the outbox."""
    replay = a_replay()
    async with parts(stage.settings, hand_over=nobody) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=10)
        ask = reserve(tenant_id)
        await Batches(own.transaction, HANDLES).commit([ask], replays={(tenant_id, ask.id): [replay]})
    rows = await stage.rows("SELECT exchange, tenant_id, xmin::text FROM inventory.outbox ORDER BY exchange")
    assert [row["exchange"] for row in rows] == ["inventory.events", "inventory.replies"]
    assert {row["tenant_id"] for row in rows} == {tenant_id}
    assert len({row["xmin"] for row in rows}) == 1


async def test_a_message_that_was_handled_before_is_known_and_changes_nothing(stage: Stage, tmp_path: Path) -> None:
    async with working(SERVICE, stage.settings, tmp_path), parts(stage.settings) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=10)
        ask, first, second = reserve(tenant_id), a_replay(), a_replay()
        await stage.publish(AGAIN, ask, headers=told(first))
        assert await reports(stage, 1) == {first: [False]}
        await stage.publish(AGAIN, ask, headers=told(second))
        assert await reports(stage, 1) == {second: [True]}
        assert await levels(stage, tenant_id) == [("APPLE", 9, 1)]


async def test_what_is_told_and_not_yet_published_is_not_told_otherwise_when_the_frame_comes_again(stage: Stage) -> None:
    """Nobody publishes: as if the process had died after its commit, and before its ack."""
    replay, again = a_replay(), a_replay()
    async with parts(stage.settings, hand_over=nobody) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=10)
        ask = reserve(tenant_id)
        await Batches(own.transaction, HANDLES).commit([ask], replays={(tenant_id, ask.id): [replay]})
    heard: list[str] = []
    async with parts(stage.settings, hand_over=lambda outgoing: heard.extend(one.body for one in outgoing)) as own:
        await Batches(own.transaction, HANDLES).commit([ask], replays={(tenant_id, ask.id): [replay, again]})
    told_now = [body for body in heard if "LetterSettled" in body]
    assert len(told_now) == 1
    assert str(again.replay_id) in told_now[0]


async def test_of_a_batch_those_that_were_replayed_are_reported_also_after_it_was_bisected(stage: Stage, tmp_path: Path) -> None:
    tenant_id = TenantId(uuid4())
    asks = [reserve(tenant_id) for _ in range(6)]
    poison, replays = asks[2], [a_replay() for _ in asks]
    repository = Recording()
    async with working(inventory(repository, poisoned_by(order_of(poison))), stage.settings, tmp_path):
        async with one_batch(stage, repository, COMMANDS):
            for ask, replay in zip(asks[:4], replays, strict=False):
                await stage.publish(AGAIN, ask, headers=told(replay))
            await stage.publish(COMMANDS, *asks[4:])
        found = await reports(stage, 3)
        [letter] = await stage.read(DEAD, 1)
        assert await stage.waiting(DESK) == 0
    assert found == {replays[0]: [False], replays[1]: [False], replays[3]: [False]}
    assert items([letter])[0]["id"] == str(poison.id)
    assert letter.headers[headers.REPLAY] == str(replays[2])
    assert letter.headers[headers.ATTEMPT] == 1


async def test_two_letters_of_one_message_in_one_batch_are_both_reported(stage: Stage, tmp_path: Path) -> None:
    ask, first, second = reserve(TenantId(uuid4())), a_replay(), a_replay()
    repository = Recording()
    async with working(inventory(repository), stage.settings, tmp_path):
        async with one_batch(stage, repository, COMMANDS):
            await stage.publish(AGAIN, ask, headers=told(first))
            await stage.publish(AGAIN, ask, headers=told(second))
            await stage.publish(AGAIN, ask, headers=told(second))
        assert await reports(stage, 2) == {first: [False], second: [False]}
        assert repository.tries[order_of(ask)] == 1


async def test_a_replay_whose_process_died_is_reported_by_the_next(stage: Stage, tmp_path: Path) -> None:
    ask, replay = reserve(TenantId(uuid4())), a_replay()
    await stage.publish(AGAIN, ask, headers=told(replay))
    await take_and_die(stage, QUEUE)
    async with working(inventory(Recording()), stage.settings, tmp_path):
        assert await reports(stage, 1) == {replay: [False]}


async def test_a_replay_that_kills_its_processes_dies_again_and_says_of_which_replay(stage: Stage, tmp_path: Path) -> None:
    ask, replay = reserve(TenantId(uuid4())), a_replay()
    await stage.administrator.execute(
        "INSERT INTO inventory.suspect (tenant_id, message_id, deaths, marked_at) VALUES ($1, $2, $3, now())",
        ask.tenantid,
        ask.id,
        stage.settings.deaths_max,
    )
    await stage.publish(AGAIN, ask, headers=told(replay))
    await take_and_die(stage, QUEUE)
    async with working(inventory(Recording()), stage.settings, tmp_path):
        [letter] = await stage.read(DEAD, 1)
    assert letter.headers[headers.REPLAY] == str(replay)
    assert await stage.waiting(DESK) == 0


async def test_a_replay_that_fails_in_passing_keeps_its_name_on_the_ladder(stage: Stage, tmp_path: Path) -> None:
    works, fails = reserve(TenantId(uuid4())), reserve(TenantId(uuid4()))
    first, second = a_replay(), a_replay()
    trouble = InPassing(order_of(works), order_of(fails))
    trouble.left[order_of(works)] = 1
    settings = stage.settings.model_copy(update={"retries_max": 1})
    async with working(inventory(Recording(), trouble), settings, tmp_path):
        await stage.publish(AGAIN, works, headers=told(first))
        assert await reports(stage, 1) == {first: [False]}
        await stage.publish(AGAIN, fails, headers=told(second))
        [letter] = await stage.read(DEAD, 1)
    assert letter.headers[headers.REPLAY] == str(second)
    assert letter.headers[headers.ATTEMPT] == 2


async def test_a_replay_that_cannot_be_read_dies_again_and_says_of_which_replay(stage: Stage, tmp_path: Path) -> None:
    replay, other = a_replay(), a_replay()
    broken = reserve(TenantId(uuid4())).model_dump_json(exclude_none=True).replace('"quantity":1', '"quantity":-1')
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await stage.publish(AGAIN, broken, headers=told(replay))
        await stage.publish(AGAIN, "17", headers=told(other))
        letters = await stage.read(DEAD, 2)
    assert {str(letter.headers[headers.REPLAY]) for letter in letters} == {str(replay), str(other)}
    assert len({letter.headers[headers.LETTER] for letter in letters}) == 2


async def test_who_answers_later_has_settled_its_letter(stage: Stage, tmp_path: Path) -> None:
    """Without a payment provider every payment waits."""
    data = AuthorisePayment(order_id=OrderId(uuid4()), amount=100, token="tok_ok")
    ask, replay = envelope(TenantId(uuid4()), data), a_replay()
    async with working(PAYMENTS, stage.settings, tmp_path):
        await stage.publish(replay_address("payments.commands.0"), ask, headers=told(replay))
        assert await reports(stage, 1) == {replay: [False]}
    assert await stage.waiting(REPLIES) == 0


@pytest.mark.parametrize("forged", ["", "nonsense", SOME_ID, f"{SOME_ID}/{SOME_ID}/{SOME_ID}", 17, ["x"], {"x": "y"}], ids=str)
async def test_a_forged_name_of_a_replay_is_ignored_and_the_message_handled(stage: Stage, tmp_path: Path, forged: Any) -> None:
    ask = reserve(TenantId(uuid4()))
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await stage.publish(AGAIN, ask, headers={headers.REPLAY: forged, headers.ATTEMPT: "many"})
        [reply] = items(await stage.read(REPLIES, 1))
    assert reply["commandid"] == str(ask.id)
    assert await stage.waiting(DESK) == 0


async def test_what_is_no_replay_is_not_reported(stage: Stage, tmp_path: Path) -> None:
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await stage.publish(COMMANDS, reserve(TenantId(uuid4())), reserve(TenantId(uuid4())))
        await stage.read(REPLIES, 2)
    assert await stage.waiting(DESK) == 0


async def test_each_death_of_a_message_is_a_letter_of_its_own(stage: Stage, tmp_path: Path) -> None:
    ask = reserve(TenantId(uuid4()))
    async with working(inventory(Recording(), poisoned_by(order_of(ask))), stage.settings, tmp_path):
        await stage.publish(COMMANDS, ask)
        first = await stage.read(DEAD, 1)
        await stage.publish(AGAIN, ask, headers=told(a_replay()))
        second = await stage.read(DEAD, 1)
    assert first[0].headers[headers.LETTER] != second[0].headers[headers.LETTER]
    assert headers.REPLAY not in first[0].headers
    assert items(first) == items(second)
