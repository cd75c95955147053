"""The consumer edge on a real broker and database: batches, redeliveries, poison, remembered answers."""

import asyncio
from pathlib import Path
from typing import Final
from uuid import uuid4

import aio_pika
import pytest
from prometheus_client import REGISTRY

from contracts.messages import Envelope
from contracts.values import TenantId
from infra.batch import Batches
from infra.consumer import Consumer
from infra.deliveries import Arrival, Delivery
from infra.frames import encode
from infra.parking import Parking
from services.inventory.consumers import HANDLES
from services.inventory.main import SERVICE
from tests.integration.failing import InPassing, Poison, Recording, inventory, order_of, poisoned_by
from tests.integration.messaging import (
    COMMANDS,
    REPLIES,
    Stage,
    a_tenant,
    items,
    levels,
    nobody,
    parts,
    reserve,
    take_and_die,
    until,
    working,
)

QUEUE: Final = COMMANDS.routing_key
DEAD: Final = f"{QUEUE}.dead"


async def test_a_frame_is_one_transaction_and_each_envelope_is_answered(stage: Stage, tmp_path: Path) -> None:
    repository = Recording()
    tenant_id = TenantId(uuid4())
    asks = [reserve(tenant_id) for _ in range(5)]
    async with working(inventory(repository), stage.settings, tmp_path):
        await stage.publish(COMMANDS, *asks)
        replies = items(await stage.read(REPLIES, 5))
    assert repository.groups == [[order_of(ask) for ask in asks]]
    assert [reply["commandid"] for reply in replies] == [str(ask.id) for ask in asks]
    assert {reply["sagaid"] for reply in replies} == {str(ask.sagaid) for ask in asks}


async def test_a_redelivered_frame_is_taken_envelope_by_envelope(stage: Stage, tmp_path: Path) -> None:
    repository = Recording()
    tenant_id = TenantId(uuid4())
    asks = [reserve(tenant_id) for _ in range(5)]
    await stage.publish(COMMANDS, *asks)
    await take_and_die(stage, QUEUE)
    before = redelivered()
    async with working(inventory(repository), stage.settings, tmp_path):
        replies = items(await stage.read(REPLIES, 5))
    assert redelivered() == before + 1
    assert sorted(repository.groups) == sorted([order_of(ask)] for ask in asks)
    assert len(replies) == 5
    # The marks went with the effects.
    assert await stage.rows("SELECT FROM inventory.suspect") == []


def redelivered() -> float:
    return REGISTRY.get_sample_value("oaas_frames_redelivered_total", {"queue": QUEUE}) or 0.0


async def test_an_envelope_that_killed_its_processes_is_parked_untried(stage: Stage, tmp_path: Path) -> None:
    repository = Recording()
    tenant_id = TenantId(uuid4())
    killer, other = reserve(tenant_id), reserve(tenant_id)
    await stage.administrator.execute(
        "INSERT INTO inventory.suspect (tenant_id, message_id, deaths, marked_at) VALUES ($1, $2, $3, now())",
        tenant_id,
        killer.id,
        stage.settings.deaths_max,
    )
    await stage.publish(COMMANDS, killer, other)
    await take_and_die(stage, QUEUE)
    async with working(inventory(repository), stage.settings, tmp_path):
        [letter] = await stage.read(DEAD, 1)
        replies = items(await stage.read(REPLIES, 2))
    assert repository.groups == [[order_of(other)]]
    assert letter.headers["x-exception-type"] == "KilledItsProcess"
    assert letter.headers["x-attempt"] == stage.settings.deaths_max + 1
    assert sorted(reply["type"] for reply in replies) == ["inventory.OutOfStock.v1", "sagas.StepFaulted.v1"]


async def test_the_poison_envelope_of_a_frame_is_parked_alone_with_its_story(stage: Stage, tmp_path: Path) -> None:
    tenant_id = TenantId(uuid4())
    asks = [reserve(tenant_id) for _ in range(8)]
    poison = asks[3]
    async with working(inventory(Recording(), poisoned_by(order_of(poison))), stage.settings, tmp_path):
        await stage.publish(COMMANDS, *asks)
        replies = items(await stage.read(REPLIES, 8))
        [letter] = await stage.read(DEAD, 1)
    assert {reply["commandid"] for reply in replies} == {str(ask.id) for ask in asks}
    [fault] = [reply for reply in replies if reply["type"] == "sagas.StepFaulted.v1"]
    assert fault["commandid"] == str(poison.id)
    assert fault["sagaid"] == str(poison.sagaid)
    assert fault["data"]["fingerprint"] == letter.headers["x-fingerprint"]
    [parked] = items([letter])
    assert parked["id"] == str(poison.id)
    assert letter.headers["x-exception-type"] == "Poison"
    assert "is poison" in str(letter.headers["x-exception-message"])
    assert "decide" in str(letter.headers["x-exception-stack"])
    assert letter.headers["x-origin-queue"] == QUEUE
    assert letter.headers["x-tenant"] == str(tenant_id)
    assert letter.headers["x-saga"] == str(poison.sagaid)
    # Not remembered: replaying the letter tries it anew.
    remembered = await stage.rows("SELECT message_id FROM inventory.inbox WHERE tenant_id = $1", tenant_id)
    assert {row["message_id"] for row in remembered} == {ask.id for ask in asks} - {poison.id}


class Endless(ValueError):
    """A bug with more to say than a broker takes in a header, and with characters that not every text column takes."""

    def __str__(self) -> str:
        return "\x00\N{PILE OF POO}\ud83d" * 400_000


async def test_a_story_too_long_for_the_broker_is_cut(stage: Stage, tmp_path: Path) -> None:
    ask = reserve(TenantId(uuid4()))
    async with working(inventory(Recording(), poisoned_by(order_of(ask), Endless)), stage.settings, tmp_path):
        await stage.publish(COMMANDS, ask)
        [letter] = await stage.read(DEAD, 1)
        [fault] = items(await stage.read(REPLIES, 1))
    assert sum(len(name) + len(str(value).encode()) for name, value in letter.headers.items()) < 13_000
    assert 990 <= len(str(letter.headers["x-exception-message"]).encode()) <= 1000
    assert fault["type"] == "sagas.StepFaulted.v1"


async def test_a_command_that_breaks_its_contract_is_parked_and_its_saga_told(stage: Stage, tmp_path: Path) -> None:
    ask = reserve(TenantId(uuid4()))
    broken = ask.model_dump_json(exclude_none=True).replace('"quantity":1', '"quantity":-1')
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await stage.publish(COMMANDS, broken)
        [letter] = await stage.read(DEAD, 1)
        [fault] = items(await stage.read(REPLIES, 1))
    assert items([letter])[0]["id"] == str(ask.id)
    assert letter.headers["x-exception-type"] == "ValidationError"
    assert (fault["type"], fault["sagaid"]) == ("sagas.StepFaulted.v1", str(ask.sagaid))


async def test_a_letter_and_the_word_to_its_saga_are_one_commit(stage: Stage) -> None:
    async with parts(stage.settings, hand_over=nobody) as own:
        ask = reserve(TenantId(uuid4()))
        await Parking(QUEUE, own.transaction, own.relay, stage.settings).park(Arrival(ask), Poison("x"), attempt=1)
    rows = await stage.rows("SELECT exchange, xmin::text FROM inventory.outbox ORDER BY exchange")
    assert [row["exchange"] for row in rows] == ["dead-letters", "inventory.replies"]
    assert len({row["xmin"] for row in rows}) == 1


@pytest.mark.parametrize(("service", "queue"), [("sagas", REPLIES), ("ops", "ops.events.0")])
async def test_a_command_that_strayed_to_who_answers_none_is_parked_and_nothing_sent_that_no_exchange_takes(
    stage: Stage, service: str, queue: str
) -> None:
    async with parts(stage.settings, service, hand_over=nobody) as own:
        await Parking(queue, own.transaction, own.relay, stage.settings).park(Arrival(reserve(TenantId(uuid4()))), Poison("x"), attempt=1)
    assert [row["exchange"] for row in await stage.rows(f"SELECT exchange FROM {service}.outbox")] == ["dead-letters"]


@pytest.mark.parametrize("broken", ['{"no": "envelope"}', '"text"', "null", "17", "[]"])
async def test_what_is_no_envelope_is_parked_and_its_neighbours_are_handled(stage: Stage, tmp_path: Path, broken: str) -> None:
    ask = reserve(TenantId(uuid4()))
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await stage.publish(COMMANDS, broken, ask)
        [reply] = items(await stage.read(REPLIES, 1))
        [letter] = await stage.read(DEAD, 1)
    assert reply["commandid"] == str(ask.id)
    assert letter.headers["x-exception-type"]


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff\xfe", b"{}", b"[]", b"[" * 2000])
async def test_what_is_no_frame_is_parked_and_the_queue_goes_on(stage: Stage, tmp_path: Path, body: bytes) -> None:
    exchange = await stage.client.get_exchange(COMMANDS.exchange, ensure=False)
    ask = reserve(TenantId(uuid4()))
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await exchange.publish(aio_pika.Message(body), QUEUE)
        await stage.publish(COMMANDS, ask)
        assert len(items(await stage.read(REPLIES, 1))) == 1

        async def parked() -> bool:
            return await stage.waiting(DEAD) == 1

        await until(parked, lambda: "the letter is not parked")


async def test_a_failure_in_passing_is_tried_again_within_bounds_then_parked(stage: Stage, tmp_path: Path) -> None:
    settings = stage.settings.model_copy(update={"retries_max": 1})
    repository = Recording()
    ask = reserve(TenantId(uuid4()))
    async with working(inventory(repository, InPassing(order_of(ask))), settings, tmp_path):
        await stage.publish(COMMANDS, ask)
        [letter] = await stage.read(DEAD, 1)
    assert repository.groups == [[order_of(ask)]] * 2
    assert letter.headers["x-attempt"] == 2


async def test_a_command_delivered_twice_gets_the_same_answer_and_has_one_effect(stage: Stage, tmp_path: Path) -> None:
    async with working(SERVICE, stage.settings, tmp_path), parts(stage.settings) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=10)
        ask, refused = reserve(tenant_id), reserve(tenant_id, quantity=50)
        first, no = await answer(stage, ask), await answer(stage, refused)
        assert await answer(stage, ask) == await answer(stage, ask, ask) == first
        assert await answer(stage, refused) == no
    assert b"StockReserved" in first
    assert b"OutOfStock" in no
    assert await levels(stage, tenant_id) == [("APPLE", 9, 1)]


async def answer(stage: Stage, *asks: Envelope) -> bytes:
    """What comes back, byte for byte."""
    await stage.publish(COMMANDS, *asks)
    [frame] = await stage.read(REPLIES, 1)
    return frame.body


async def test_no_frame_is_acked_before_its_effect_is_committed(stage: Stage) -> None:
    class Message:
        acked = False

        async def ack(self) -> None:
            self.acked = True

    async with parts(stage.settings) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=10)
        consumer = Consumer(QUEUE, Batches(own.transaction, HANDLES), own.transaction, own.relay, stage.settings)
        running = asyncio.create_task(consumer.run())
        message = Message()
        async with stage.administrator.transaction():
            await stage.rows("SELECT FROM inventory.stock WHERE tenant_id = $1 FOR UPDATE", tenant_id)
            consumer.take(Delivery(message, encode([reserve(tenant_id).model_dump_json(exclude_none=True)]), redelivered=False, id="1"))

            async def waits() -> bool:
                blocked = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
                return bool((await stage.rows(blocked))[0][0])

            await until(waits, lambda: "the consumer does not wait for the row")
            assert not message.acked
        await consumer.drain(10)
        assert message.acked
        running.cancel()
    assert await levels(stage, tenant_id) == [("APPLE", 9, 1)]
