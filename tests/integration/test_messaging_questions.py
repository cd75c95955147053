"""AskIfHandled on the real broker: every service answers it by itself, from its inbox, whatever comes along with it."""

from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import pytest

from contracts.addresses import queues_of, replay_address, work_queues
from contracts.catalog import name_of
from contracts.desk import AskIfHandled
from contracts.inventory import ReserveStock
from contracts.messages import Envelope
from contracts.values import TenantId
from infra.batch import Batches
from infra.build import build
from infra.services import load
from tests.integration.failing import InPassing, Recording, inventory, one_batch, order_of, poisoned_by
from tests.integration.messaging import COMMANDS, REPLIES, Stage, envelope, items, nobody, parts, reserve, take_and_die, working

QUEUE: Final = COMMANDS.routing_key
ASK: Final = replay_address(QUEUE)
[DESK] = queues_of("ops")


def question(about: Envelope, tenant_id: TenantId | None = None) -> Envelope:
    """Has it been handled? Asked inside its tenant, or another one."""
    data = AskIfHandled(letter_id=uuid4(), message_id=about.id, type=about.type)
    return envelope(tenant_id or about.tenantid, data).model_copy(update={"sagaid": None})


async def told(stage: Stage, count: int) -> dict[UUID, bool]:
    """By letter: whether its message was handled. Every answer names its question, the desk's tenant and this build."""
    found = {}
    for item in items(await stage.read(DESK, count)):
        assert item["type"] == "ops.HandlingReported.v1"
        assert item["data"]["build"] == build()
        found[UUID(item["data"]["letter_id"])] = item["data"]["is_handled"]
    return found


def letter_of(asked: Envelope) -> UUID:
    assert isinstance(asked.data, AskIfHandled)
    return asked.data.letter_id


async def test_a_question_is_answered_from_the_inbox_and_leaves_nothing_there(stage: Stage, tmp_path: Path) -> None:
    handled, unknown = reserve(TenantId(uuid4())), reserve(TenantId(uuid4()))
    yes, no = question(handled), question(unknown)
    elsewhere = question(handled, TenantId(uuid4()))
    repository = Recording()
    async with working(inventory(repository), stage.settings, tmp_path):
        await stage.publish(COMMANDS, handled)
        await stage.read(REPLIES, 1)
        await stage.publish(ASK, yes)
        await stage.publish(ASK, no)
        await stage.publish(ASK, elsewhere)
        assert await told(stage, 3) == {letter_of(yes): True, letter_of(no): False, letter_of(elsewhere): False}
    assert repository.groups == [[order_of(handled)]]
    assert [row["handler"] for row in await stage.rows("SELECT handler FROM inventory.inbox WHERE tenant_id = $1", handled.tenantid)] == [
        name_of(ReserveStock)
    ]
    assert await stage.rows("SELECT FROM inventory.inbox WHERE message_id = ANY($1)", [yes.id, no.id, elsewhere.id]) == []


async def test_an_answer_names_its_question_and_its_tenant(stage: Stage, tmp_path: Path) -> None:
    asked = question(reserve(TenantId(uuid4())))
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await stage.publish(ASK, asked)
        [answer] = items(await stage.read(DESK, 1))
    assert (answer["causationid"], answer["tenantid"]) == (str(asked.id), str(asked.tenantid))


async def test_among_commands_it_sees_what_they_have_done_and_hinders_none(stage: Stage, tmp_path: Path) -> None:
    tenant_id = TenantId(uuid4())
    asks = [reserve(tenant_id) for _ in range(4)]
    poison = asks[1]
    questions = [question(ask) for ask in asks]
    repository = Recording()
    async with working(inventory(repository, poisoned_by(order_of(poison))), stage.settings, tmp_path):
        async with one_batch(stage, repository, COMMANDS):
            await stage.publish(COMMANDS, *(one for pair in zip(asks, questions, strict=True) for one in pair))
        answers = await told(stage, 4)
        replies = items(await stage.read(REPLIES, 5))
    assert answers == {letter_of(asked): about is not poison for asked, about in zip(questions, asks, strict=True)}
    assert {str(ask.id) for ask in asks} <= {reply["commandid"] for reply in replies}


async def test_asked_twice_it_answers_what_is_true_then(stage: Stage, tmp_path: Path) -> None:
    ask = reserve(TenantId(uuid4()))
    asked = question(ask)
    async with working(inventory(Recording()), stage.settings, tmp_path):
        await stage.publish(ASK, asked, asked)
        assert await told(stage, 1) == {letter_of(asked): False}
        await stage.publish(COMMANDS, ask)
        await stage.read(REPLIES, 1)
        await stage.publish(ASK, asked)
        assert await told(stage, 1) == {letter_of(asked): True}


async def test_a_question_that_comes_again_after_a_death_is_answered(stage: Stage, tmp_path: Path) -> None:
    asked = question(reserve(TenantId(uuid4())))
    await stage.publish(ASK, asked)
    await take_and_die(stage, QUEUE)
    async with working(inventory(Recording()), stage.settings, tmp_path):
        assert await told(stage, 1) == {letter_of(asked): False}
    assert await stage.rows("SELECT FROM inventory.suspect") == []


async def test_what_waits_on_the_ladder_is_not_handled(stage: Stage, tmp_path: Path) -> None:
    ask = reserve(TenantId(uuid4()))
    before, after = question(ask), question(ask)
    # Once together with the question, once alone.
    async with working(inventory(Recording(), InPassing(order_of(ask), times=2)), stage.settings, tmp_path):
        await stage.publish(COMMANDS, ask, before)
        assert await told(stage, 1) == {letter_of(before): False}
        await stage.read(REPLIES, 1)
        await stage.publish(ASK, after)
        assert await told(stage, 1) == {letter_of(after): True}


@pytest.mark.parametrize("queue", [queue for queue in work_queues() if not queue.startswith("ops.")])
async def test_whoever_reads_a_queue_answers_what_is_asked_there(stage: Stage, tmp_path: Path, queue: str) -> None:
    [service] = load([queue.split(".")[0]])
    asked = question(reserve(TenantId(uuid4())))
    async with working(service, stage.settings, tmp_path):
        await stage.publish(replay_address(queue), asked)
        assert await told(stage, 1) == {letter_of(asked): False}


async def test_the_desk_answers_itself(stage: Stage) -> None:
    asked = question(reserve(TenantId(uuid4())))
    async with parts(stage.settings, "ops", hand_over=nobody) as own:
        await Batches(own.transaction, ()).commit([asked])
    [row] = await stage.rows("SELECT exchange, routing_key, body FROM ops.outbox")
    assert row["exchange"] == "ops.events"
    assert f'"letter_id":"{letter_of(asked)}","is_handled":false' in row["body"]
