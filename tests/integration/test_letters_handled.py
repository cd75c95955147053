"""Letters whose message is handled without a replay: the saga was retried, and whoever reads the queue says so when it is asked."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.addresses import Address
from contracts.desk import HandlingReported
from contracts.messages import Envelope
from contracts.orders import OrderApproved, OrderPlaced
from contracts.sagas import SagaEnded, SagaHalted, SagaResumed
from contracts.values import OrderId, OrderLine, SagaId, ShopId, TenantId
from infra.batch import Batches
from infra.clock import now
from infra.frames import decode
from sagas.engine.coordinator import Coordinator
from sagas.engine.verbs import Verb
from sagas.operating import Act, Operating, Result
from services.ops.consumers import HANDLES
from services.ops.desk import handled
from tests.conformance.places import shop_of
from tests.integration.coordinators import QUICK, service
from tests.integration.desk import envelope as told
from tests.integration.letters import dying, publish
from tests.integration.messaging import REPLIES, Stage, a_tenant, envelope, parts, reserve, until, working
from tests.integration.replays import QUEUE, Bug, ReplayDesk, inventory_with, note_ended, replay_desk
from tests.integration.workers import oaas_worker, worker_process

APPROVALS = "orders.commands.0"
HALTED = SagaHalted(saga="quick", version=1, state="PARKED", step="reserve-stock")
RESUMED = SagaResumed(saga="quick", version=1, state="RUNNING")
ENDED = SagaEnded(saga="quick", version=1, state="COMPLETED")


@pytest.fixture(scope="module")
async def desk(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplayDesk]:
    """With a worker of the desk."""
    await open_stage.empty()
    home = tmp_path_factory.mktemp("desk")
    async with worker_process(oaas_worker("ops"), open_stage.settings, home), replay_desk(open_stage, home, report_within_s=0.1) as desk:
        yield desk


@pytest.fixture
async def tenant(open_stage: Stage) -> TenantId:
    await (await open_stage.client.get_queue(QUEUE, ensure=False)).purge()
    async with parts(open_stage.settings) as inventory:
        return await a_tenant(inventory.transaction)


async def test_the_letter_of_a_saga_that_was_retried_and_completed_is_settled(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    order, bug, settings = OrderId(uuid4()), Bug(), desk.stage.settings
    line = OrderLine(sku="APPLE", quantity=1)
    placed = OrderPlaced(order_id=order, shop_id=ShopId(shop_of(tenant)), lines=(line,), total=100, placed_at=now())
    async with working(service([QUICK]), settings, tmp_path), working(inventory_with(bug), settings, tmp_path):
        await desk.stage.publish(Address("orders.events", "orders.OrderPlaced.v1.0"), told(tenant, str(order), placed))
        await comes_to(desk, tenant, DEAD=1)
        await saga_comes_to(desk, tenant, "PARKED")
        bug.is_mended = True
        await retry(desk, tenant)
        [frame] = await desk.stage.read(APPROVALS, 1)
        [asked] = decode(frame.body)
        approved = told(tenant, str(order), OrderApproved(), sagaid=asked.sagaid, commandid=asked.id)
        await desk.stage.publish(Address("orders.replies", REPLIES), approved)
        await saga_comes_to(desk, tenant, "COMPLETED")
        await comes_to(desk, tenant, SETTLED=1)
    assert await desk.held(tenant) == 1
    [entry] = (await desk.done("GET", "/audit", tenant=tenant, what="OUTCOMES"))["entries"]
    assert (entry["actor"], entry["verb"], entry["outcome"]) == ("the desk", "settle", "SETTLED")
    assert entry["reason"] == "handled without a replay: its saga was retried or went on"
    assert not await desk.stage.rows("SELECT id FROM ops.question WHERE tenant_id = $1", tenant), "nothing is left behind"


async def test_what_nobody_has_handled_stays_dead_when_its_saga_ends(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    [dead] = await desk.dead(tenant, 1)
    await hear(desk, dead, ENDED, 2)
    async with working(inventory_with(Bug()), desk.stage.settings, tmp_path):
        await until(lambda: nothing_is_asked(desk, tenant), lambda: "the question was not answered")
    assert await desk.states(tenant) == {"DEAD": 1}


async def test_a_letter_that_comes_after_its_saga_has_ended_is_asked_about_as_well(
    desk: ReplayDesk, tenant: TenantId, tmp_path: Path
) -> None:
    late = reserve(tenant)
    await hear(desk, late, ENDED, 2)
    async with working(inventory_with(Bug(is_mended=True)), desk.stage.settings, tmp_path):
        await handle(desk, late)
        await desk.die([late])
        await comes_to(desk, tenant, SETTLED=1)


async def test_asked_too_early_it_is_asked_again_at_the_end(desk: ReplayDesk, tenant: TenantId, tmp_path: Path) -> None:
    [dead] = await desk.dead(tenant, 1)
    async with working(inventory_with(Bug(is_mended=True)), desk.stage.settings, tmp_path):
        await hear(desk, dead, RESUMED, 2)
        await until(lambda: nothing_is_asked(desk, tenant), lambda: "the question was not answered")
        assert await desk.states(tenant) == {"DEAD": 1}
        await handle(desk, dead)
        await hear(desk, dead, ENDED, 3)
        await comes_to(desk, tenant, SETTLED=1)


async def test_nothing_is_asked_of_sagas_that_wait_nor_of_letters_that_are_put_away(desk: ReplayDesk, tenant: TenantId) -> None:
    waiting, archived = await desk.dead(tenant, 2)
    ids = {message: letter["id"] for message, letter in (await desk.letters(tenant)).items()}
    await desk.done("POST", f"/{ids[archived.id]}/archive", {"reason": "a test"})
    await hear(desk, waiting, HALTED, 2)
    await hear(desk, archived, ENDED, 2)
    assert await nothing_is_asked(desk, tenant)


@pytest.mark.parametrize("told_of", ["another letter", "nothing that was asked", "no"])
async def test_only_a_yes_to_what_was_asked_settles_a_letter(desk: ReplayDesk, tenant: TenantId, told_of: str) -> None:
    [dead] = await desk.dead(tenant, 1)
    await hear(desk, dead, ENDED, 2)
    [question] = await desk.stage.rows("SELECT id, letter_id FROM ops.question WHERE tenant_id = $1", tenant)
    letter = uuid4() if told_of == "another letter" else question["letter_id"]
    asked = uuid4() if told_of == "nothing that was asked" else question["id"]
    await answer(desk, tenant, asked, letter, is_handled=told_of != "no")
    assert await desk.states(tenant) == {"DEAD": 1}


async def test_a_replay_that_is_under_way_settles_its_letter_itself(desk: ReplayDesk, tenant: TenantId) -> None:
    [dead] = await desk.dead(tenant, 1)
    await hear(desk, dead, ENDED, 2)
    [question] = await desk.stage.rows("SELECT id, letter_id FROM ops.question WHERE tenant_id = $1", tenant)
    plan = await desk.plan(tenant=tenant, include_ended=True)
    await desk.start(plan)
    await desk.comes_to(plan, lambda seen: seen["sent"] == 1)
    await answer(desk, tenant, question["id"], question["letter_id"], is_handled=True)
    assert await desk.states(tenant) == {"REPLAYING": 1}
    await desk.verb("cancel", plan)


async def test_a_letter_that_is_taken_in_while_its_saga_ends_is_not_missed_by_both(desk: ReplayDesk, tenant: TenantId) -> None:
    """The end of the saga has been noted and not committed when the letter comes: it waits for that."""
    late = reserve(tenant)
    async with desk.transaction(tenant) as scope:
        await handled.before_hearing(scope)
        await publish(desk.stage, dying(late))
        await until(lambda: waits_for_the_lock(desk), lambda: "the letter did not wait")
        assert late.sagaid is not None
        await note_ended(desk.stage, tenant, late.sagaid)
    await comes_to(desk, tenant, DEAD=1)
    assert not await nothing_is_asked(desk, tenant)


async def waits_for_the_lock(desk: ReplayDesk) -> bool:
    return bool(await desk.stage.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


async def hear(desk: ReplayDesk, about: Envelope, event: Any, sequence: int) -> None:
    """The desk has heard this of the message's saga."""
    said = told(about.tenantid, "x", event, sagaid=about.sagaid, sequence=sequence)
    await Batches(desk.transaction, HANDLES).commit([said])


async def answer(desk: ReplayDesk, tenant: TenantId, question: UUID, letter: UUID, *, is_handled: bool) -> None:
    """The desk has heard what a service says."""
    reported = HandlingReported(letter_id=letter, is_handled=is_handled, build="x")
    await Batches(desk.transaction, HANDLES).commit([envelope(tenant, reported).model_copy(update={"causationid": question})])


async def handle(desk: ReplayDesk, message: Envelope) -> None:
    """Inventory has handled it, as its saga sent it again."""
    await desk.stage.publish(Address("sagas.commands", QUEUE), message)

    async def is_handled() -> bool:
        return message.id in await desk.handled(message.tenantid)

    await until(is_handled, lambda: "it was not handled")


async def retry(desk: ReplayDesk, tenant: TenantId) -> None:
    """As `oaas saga retry` does it."""
    [row] = await desk.stage.rows("SELECT id, revision FROM sagas.saga WHERE tenant_id = $1", tenant)
    async with parts(desk.stage.settings, "sagas") as own:
        operating = Operating(own.transaction, Coordinator([QUICK]))
        [done] = await operating.act(tenant, {SagaId(row["id"]): row["revision"]}, Act(Verb.RETRY, "ada", "mended"))
        assert done.result is Result.DONE, done


async def nothing_is_asked(desk: ReplayDesk, tenant: TenantId) -> bool:
    return not await desk.stage.rows("SELECT id FROM ops.question WHERE tenant_id = $1", tenant)


async def comes_to(desk: ReplayDesk, tenant: TenantId, **states: int) -> None:
    """So many letters of the tenant are in each state, and there are no others."""

    async def is_so() -> bool:
        return await desk.states(tenant) == states

    await until(is_so, lambda: f"it did not come to {states}")


async def saga_comes_to(desk: ReplayDesk, tenant: TenantId, state: str) -> None:
    async def is_so() -> bool:
        return [row["state"] for row in await desk.stage.rows("SELECT state FROM sagas.saga WHERE tenant_id = $1", tenant)] == [state]

    await until(is_so, lambda: f"the saga did not come to {state}")
