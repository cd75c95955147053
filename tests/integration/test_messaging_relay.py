"""The relay on a real broker: published after the commit, deleted after the confirm, kept otherwise."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from contracts.addresses import Address
from contracts.headers import COUNT
from contracts.inventory import StockReleased
from contracts.sagas import SagaEnded
from contracts.values import SagaId, TenantId
from infra import clock
from infra.broker import close, connect, open_broker
from infra.http.serve import database_checks
from infra.outbox import Outgoing
from infra.runtime import open_runtime
from infra.transaction import Scope
from tests.integration.messaging import REPLIES, Parts, Stage, items, nobody, parts, until

DESK = "ops.events.0"
OUTBOX = "SELECT count(*) FROM inventory.outbox"


def answer(scope: Scope) -> str:
    """Send a reply; returns its id."""
    return str(scope.send(StockReleased(), subject="test", sagaid=SagaId(uuid4()), commandid=uuid4()).id)


async def outbox_is_empty(stage: Stage) -> None:
    async def empty() -> bool:
        return bool((await stage.rows(OUTBOX))[0][0] == 0)

    await until(empty, lambda: "rows stay in the outbox")


async def test_a_message_is_published_after_the_commit_and_its_row_deleted_after_the_confirm(stage: Stage) -> None:
    async with parts(stage.settings) as inventory:
        async with inventory.transaction(TenantId(uuid4())) as scope:
            sent = answer(scope)
            await asyncio.sleep(0.1)
            assert await stage.waiting(REPLIES) == 0
        [frame] = await stage.read(REPLIES, 1)
        await outbox_is_empty(stage)
    assert [item["id"] for item in items([frame])] == [sent]
    assert frame.delivery_mode == 2
    assert frame.exchange == "inventory.replies"


async def test_nothing_is_published_of_a_transaction_that_is_rolled_back(stage: Stage) -> None:
    async with parts(stage.settings) as inventory:
        with pytest.raises(ZeroDivisionError):
            await send_and_fail(inventory)
    assert await stage.waiting(REPLIES) == 0
    assert (await stage.rows(OUTBOX))[0][0] == 0


async def send_and_fail(inventory: Parts) -> None:
    async with inventory.transaction(TenantId(uuid4())) as scope:
        answer(scope)
        raise ZeroDivisionError


async def test_frames_are_one_envelope_when_idle_and_grow_under_load(stage: Stage) -> None:
    async with parts(stage.settings.model_copy(update={"frame_envelopes_max": 100})) as inventory:
        for _ in range(3):
            async with inventory.transaction(TenantId(uuid4())) as scope:
                answer(scope)
            await outbox_is_empty(stage)
        idle = await stage.read(REPLIES, 3)
        async with inventory.transaction(TenantId(uuid4())) as scope:
            sent = [answer(scope) for _ in range(250)]
        loaded = await stage.read(REPLIES, 250)
    assert [frame.headers[COUNT] for frame in idle] == [1, 1, 1]
    assert [frame.headers[COUNT] for frame in loaded] == [100, 100, 50]
    assert [item["id"] for item in items(loaded)] == sent


async def test_what_comes_while_a_frame_awaits_its_confirm_goes_with_the_next(stage: Stage) -> None:
    async with parts(stage.settings) as inventory:

        async def send() -> None:
            async with inventory.transaction(TenantId(uuid4())) as scope:
                answer(scope)

        await asyncio.gather(*(send() for _ in range(100)))
        frames = await stage.read(REPLIES, 100)
    assert len(items(frames)) == 100
    assert len(frames) < 100


async def test_a_letter_with_headers_travels_alone(stage: Stage) -> None:
    tenant_id = TenantId(uuid4())
    async with parts(stage.settings) as inventory:
        async with inventory.transaction(tenant_id) as scope:
            answer(scope)
            scope.post(str(uuid4()), Address("inventory.replies", REPLIES), "{}", {"x-attempt": 1})
            answer(scope)
        frames = await stage.read(REPLIES, 3)
    assert [(frame.headers[COUNT], frame.headers.get("x-attempt")) for frame in frames] == [(1, None), (1, 1), (1, None)]


@pytest.mark.parametrize(
    "address", [Address("inventory.replies", "nobody.reads.this"), Address("no.such.exchange", REPLIES)], ids=["unroutable", "no exchange"]
)
async def test_a_message_that_reaches_no_queue_stays_in_the_outbox_and_hinders_no_other(stage: Stage, address: Address) -> None:
    async with parts(stage.settings) as inventory:
        lost = str(uuid4())
        async with inventory.transaction(TenantId(uuid4())) as scope:
            scope.post(lost, address, "{}")
        async with inventory.transaction(TenantId(uuid4())) as scope:
            answer(scope)
        await inventory.relay.drain(10)
        await send_until_it_arrives(stage, inventory)
        assert lost in {str(row["id"]) for row in await stage.rows("SELECT id FROM inventory.outbox")}
        assert not inventory.relay.holds(scope.tenant_id, lost, scope.now)


async def send_until_it_arrives(stage: Stage, inventory: Parts) -> None:
    async def arrived() -> bool:
        async with inventory.transaction(TenantId(uuid4())) as scope:
            answer(scope)
        await inventory.relay.drain(10)
        return await stage.waiting(REPLIES) > 0

    await until(arrived, lambda: "nothing is published any more")


async def test_a_full_queue_keeps_its_publishers_rows(stage: Stage) -> None:
    full = {"pattern": f"^{REPLIES}$", "apply-to": "queues", "priority": 20, "definition": {"max-length": 1, "overflow": "reject-publish"}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/full", full)
    async with parts(stage.settings) as inventory:

        async def refused() -> bool:
            async with inventory.transaction(TenantId(uuid4())) as scope:
                answer(scope)
            await inventory.relay.drain(10)
            return bool((await stage.rows(OUTBOX))[0][0])

        await until(refused, lambda: "the full queue refuses nothing")
        await stage.management("DELETE", f"/api/policies/{stage.vhost}/full")
        await send_until_it_arrives(stage, inventory)


async def test_a_full_queue_of_one_reader_makes_no_process_unready(stage: Stage) -> None:
    full = {"pattern": f"^{DESK}$", "apply-to": "queues", "priority": 20, "definition": {"max-length": 1, "overflow": "reject-publish"}}
    await stage.management("PUT", f"/api/policies/{stage.vhost}/full", full)
    settings = stage.settings.model_copy(update={"outbox_age_max_s": 1, "resend_after_s": 0.2})
    broker = open_broker(settings)
    await connect(broker, settings, patience_s=30)
    async with open_runtime("sagas", broker, settings) as runtime:

        async def some_are_refused_for_long() -> bool:
            async with runtime.transaction(TenantId(uuid4())) as scope:
                scope.send(SagaEnded(saga="place-order", version=1, state="COMPLETED"), subject="x", sagaid=SagaId(uuid4()), sequence=3)
            oldest = await runtime.overdue.oldest()
            return oldest is not None and clock.now() - oldest > timedelta(seconds=3)

        await until(some_are_refused_for_long, lambda: "the full queue refuses nothing")
        assert [await check.run() for check in database_checks("sagas", runtime, settings)] == [None, None]
    await close(broker)


async def test_a_process_is_not_ready_while_nobody_sends_what_is_due_or_the_broker_says_nothing(stage: Stage) -> None:
    settings = stage.settings.model_copy(update={"outbox_age_max_s": 0.5, "resend_after_s": 0.2})
    broker = open_broker(settings)
    await connect(broker, settings, patience_s=30)
    async with open_runtime("inventory", broker, settings) as runtime:
        runtime.sweep.cancel()
        _, outbox = database_checks("inventory", runtime, settings)
        async with parts(settings, hand_over=nobody) as died, died.transaction(TenantId(uuid4())) as scope:
            answer(scope)
        await asyncio.sleep(1)
        assert "to be sent again since" in (await outbox.run() or "")
        await stage.rows("TRUNCATE inventory.outbox")
        await close(broker)
        async with runtime.transaction(TenantId(uuid4())) as scope:
            answer(scope)
        await stage.rows("TRUNCATE inventory.outbox")
        await asyncio.sleep(1)
        assert "neither taken nor refused" in (await outbox.run() or "")


async def test_what_was_asked_anew_is_not_lost_with_the_row_of_its_first_asking(stage: Stage) -> None:
    asked: list[Outgoing] = []
    tenant_id, id = TenantId(uuid4()), str(uuid4())
    async with parts(stage.settings, hand_over=lambda outgoing: asked.extend(outgoing)) as inventory:
        # The second is of a process that dies before it has published it, while the first still waits for its row to be deleted.
        for body in ('{"deadline": 1}', '{"deadline": 2}'):
            async with inventory.transaction(tenant_id) as scope:
                scope.post(id, Address("inventory.replies", REPLIES), body)
        first, second = asked
        inventory.relay([first])
        await inventory.relay.drain(10)
        assert [row["body"] for row in await stage.rows("SELECT body FROM inventory.outbox")] == [second.body]
        inventory.relay([second])
        await inventory.relay.drain(10)
        assert (await stage.rows(OUTBOX))[0][0] == 0
    assert items(await stage.read(REPLIES, 2)) == [{"deadline": 1}, {"deadline": 2}]


async def test_nothing_is_lost_with_the_connection(stage: Stage) -> None:
    async with parts(stage.settings) as inventory:
        sent: list[str] = []

        async def send() -> None:
            async with inventory.transaction(TenantId(uuid4())) as scope:
                sent.append(answer(scope))

        # The management API sees a connection only after its statistics were collected once.
        closed = 0
        while not closed:
            await asyncio.gather(*(send() for _ in range(20)))
            closed = await stage.close_connections()
        await asyncio.gather(*(send() for _ in range(200)))
        await inventory.relay.drain(15)
        kept = {str(row["id"]) for row in await stage.rows("SELECT id FROM inventory.outbox")}
        came = {item["id"] for item in items(await stage.read(REPLIES, len(sent) - len(kept)))}
    assert set(sent) <= came | kept


async def test_above_the_bound_messages_stay_in_the_outbox_and_consuming_pauses(stage: Stage) -> None:
    settings = stage.settings.model_copy(update={"unpublished_max": 10})
    async with parts(settings, hand_over=nobody) as inventory:
        tenant_id = TenantId(uuid4())
        address = Address("inventory.replies", REPLIES)
        inventory.relay([Outgoing(tenant_id, str(uuid4()), address, "{}") for _ in range(25)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await inventory.relay.room()
        await inventory.relay.drain(10)
        await inventory.relay.room()
    assert len(items(await stage.read(REPLIES, 10))) == 10
