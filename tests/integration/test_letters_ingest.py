"""Dead letters come into the desk's tables, each once, whatever happens meanwhile; and dying again is the same letter."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from contracts.headers import REPLAY
from contracts.values import TenantId
from services.ops.desk.model import letter_id
from services.ops.main import SERVICE
from tests.integration.letters import QUEUE, Poison, a_letter, dying, forget_all, publish, taken_in
from tests.integration.messaging import Stage, reserve, working


@pytest.fixture
async def desk(stage: Stage, tmp_path: Path) -> AsyncIterator[Stage]:
    """A worker of the desk, draining."""
    await forget_all(stage)
    async with working(SERVICE, stage.settings, tmp_path):
        yield stage


async def test_a_letter_is_kept_with_its_story(desk: Stage) -> None:
    ask = reserve(TenantId(uuid4()))
    died = dying(ask, Poison("no shelf"), attempt=3)
    await publish(desk, died)
    [letter] = await taken_in(desk, letters=1)
    assert letter["id"] == letter_id(ask.tenantid, QUEUE, ask.id)
    told = {name: letter[name] for name in ("tenant_id", "queue", "service", "type", "message_id", "saga_id", "subject", "state")}
    assert told == {
        "tenant_id": ask.tenantid,
        "queue": QUEUE,
        "service": "inventory",
        "type": "inventory.ReserveStock.v1",
        "message_id": ask.id,
        "saga_id": ask.sagaid,
        "subject": "test",
        "state": "DEAD",
    }
    assert (letter["exception_type"], letter["error"], letter["attempts"], letter["deaths"]) == ("Poison", "no shelf", 3, 1)
    assert letter["fingerprint"] == died.headers["x-fingerprint"]
    assert letter["build"] == died.headers["x-build"]
    assert "Poison: no shelf" in letter["stack"]
    assert (letter["form"], letter["body"]) == ("ENVELOPE", ask.model_dump_json(exclude_none=True))
    assert json.loads(letter["headers"])["x-letter"] == str(died.letter)
    assert (letter["is_readable"], letter["is_native"], letter["sent_at"]) == (True, False, ask.time)


async def test_many_letters_of_many_tenants_come_in_together(desk: Stage) -> None:
    tenants = [TenantId(uuid4()) for _ in range(20)]
    died = [a_letter(tenants[number % 20]) for number in range(400)]
    await publish(desk, *died)
    found = await taken_in(desk, letters=400)
    assert {letter["tenant_id"] for letter in found} == set(tenants)


async def test_the_same_death_told_twice_is_one(desk: Stage) -> None:
    died = a_letter()
    await publish(desk, died, died)
    await taken_in(desk, letters=1)
    # Another publish of the same outbox row has another AMQP message id.
    await publish(desk, type(died)(died.body, died.headers, str(uuid4())), a_letter())
    first, _ = await taken_in(desk, letters=2)
    assert first["deaths"] == 1


async def test_a_message_that_dies_again_is_the_same_letter_with_the_newest_error(desk: Stage) -> None:
    ask = reserve(TenantId(uuid4()))
    await publish(desk, dying(ask, Poison("first")))
    [first] = await taken_in(desk, letters=1)
    await publish(desk, dying(ask, KeyError("second"), attempt=4))
    [letter] = await taken_in(desk, letters=1, deaths=2)
    assert (letter["deaths"], letter["exception_type"], letter["attempts"], letter["state"]) == (2, "KeyError", 4, "DEAD")
    assert letter["first_died_at"] == first["first_died_at"] < letter["died_at"]
    assert "KeyError" in letter["stack"]
    history = await desk.rows("SELECT error FROM ops.death ORDER BY at")
    assert [death["error"] for death in history] == ["first", "'second'"]


async def test_a_message_that_dies_twice_in_one_batch_is_one_letter_with_two_deaths(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    ask = reserve(TenantId(uuid4()))
    await publish(stage, dying(ask), dying(ask, KeyError("again")), dying(ask))
    async with working(SERVICE, stage.settings, tmp_path):
        [letter] = await taken_in(stage, letters=1, deaths=3)
    assert letter["deaths"] == 3


async def test_the_same_message_on_two_queues_is_two_letters(desk: Stage) -> None:
    ask = reserve(TenantId(uuid4()))
    await publish(desk, dying(ask))
    await publish(desk, dying(ask), queue="orders.commands.0")
    found = await taken_in(desk, letters=2)
    assert {letter["queue"] for letter in found} == {QUEUE, "orders.commands.0"}


@pytest.mark.parametrize("state", ["SETTLED", "ARCHIVED", "DEAD"])
async def test_a_letter_that_was_seen_to_and_dies_anew_is_dead_again(desk: Stage, state: str) -> None:
    ask = reserve(TenantId(uuid4()))
    died = dying(ask)
    await publish(desk, died)
    await taken_in(desk, letters=1)
    await desk.administrator.execute("UPDATE ops.letter SET state = $1", state)
    # The death that is known changes nothing.
    await publish(desk, died, a_letter(error=Poison("something else")))
    first, _ = await taken_in(desk, letters=2)
    assert first["state"] == state
    await publish(desk, dying(ask))
    first, _ = await taken_in(desk, letters=2, deaths=3)
    assert (first["state"], first["deaths"], first["replays_in_vain"]) == ("DEAD", 2, 0)


async def bring_to_replaying(desk: Stage, replay_id: UUID, ask: Any) -> None:
    await publish(desk, dying(ask))
    await taken_in(desk, letters=1)
    await desk.administrator.execute("UPDATE ops.letter SET state = 'REPLAYING', replay_id = $1", replay_id)


async def test_a_letter_that_dies_of_its_replay_is_dead_again_and_the_replay_was_in_vain(desk: Stage) -> None:
    ask, replay_id = reserve(TenantId(uuid4())), uuid4()
    await bring_to_replaying(desk, replay_id, ask)
    again = dying(ask, more={REPLAY: f"{replay_id}/{letter_id(ask.tenantid, QUEUE, ask.id)}"})
    await publish(desk, again, again)
    [letter] = await taken_in(desk, letters=1, deaths=2)
    assert (letter["state"], letter["replays_in_vain"], letter["replay_id"], letter["deaths"]) == ("DEAD", 1, replay_id, 2)


async def test_while_a_letter_is_replayed_another_death_leaves_the_outcome_to_the_replay(desk: Stage) -> None:
    ask, replay_id = reserve(TenantId(uuid4())), uuid4()
    await bring_to_replaying(desk, replay_id, ask)
    await publish(desk, dying(ask, KeyError("asked again")))
    [letter] = await taken_in(desk, letters=1, deaths=2)
    assert (letter["state"], letter["replays_in_vain"], letter["exception_type"]) == ("REPLAYING", 0, "KeyError")


async def test_two_processes_that_drain_at_once_take_each_death_once(stage: Stage, tmp_path: Path) -> None:
    await forget_all(stage)
    asks = [reserve(TenantId(uuid4())) for _ in range(20)]
    died = [dying(ask, Poison(str(number))) for number in range(10) for ask in asks]
    async with working(SERVICE, stage.settings, tmp_path), working(SERVICE, stage.settings, tmp_path):
        await asyncio.gather(*(publish(stage, one) for one in (*died, *died)))
        found = await taken_in(stage, letters=20, deaths=200)
    assert {letter["deaths"] for letter in found} == {10}


def counted(name: str, **labels: str) -> float:
    """What the process shows at `/metrics`."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_cause_is_new_once_and_each_death_is_counted_once(desk: Stage) -> None:
    names = {
        "oaas_dead_letter_fingerprints_new_total": {},
        "oaas_dead_letters_taken_in_total": {"queue": QUEUE},
        "oaas_replays_failed_total": {},
    }
    before = [counted(name, **labels) for name, labels in names.items()]
    cause = {"x-fingerprint": uuid4().hex[:16]}
    ask = reserve(TenantId(uuid4()))
    first = dying(ask, more=cause)
    await publish(desk, first, first, a_letter(more=cause))
    await taken_in(desk, letters=2)
    again = dying(ask, more={**cause, REPLAY: f"{uuid4()}/{letter_id(ask.tenantid, QUEUE, ask.id)}"})
    await publish(desk, first, again)
    await taken_in(desk, letters=2, deaths=3)
    # What is committed is counted a moment later.
    await taken_in(desk, letters=2, deaths=3)
    assert [counted(name, **labels) - old for (name, labels), old in zip(names.items(), before, strict=True)] == [1, 3, 1]
