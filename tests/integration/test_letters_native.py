"""What the broker itself gives up comes in as letters, one for each envelope of the frame."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from contracts.addresses import Address
from contracts.inventory import ReleaseStock
from contracts.orders import OrderCompleted
from contracts.values import OrderId, TenantId
from services.ops.main import SERVICE
from tests.integration.letters import QUEUE, LetterDesk, forget_all, letter_desk, taken_in
from tests.integration.messaging import COMMANDS, Stage, envelope, reserve, until, working


@pytest.fixture
async def desk(stage: Stage, tmp_path: Path) -> AsyncIterator[Stage]:
    """A worker of the desk, draining."""
    await forget_all(stage)
    async with working(SERVICE, stage.settings, tmp_path):
        yield stage


@pytest.fixture
async def operator(stage: Stage, tmp_path: Path) -> AsyncIterator[LetterDesk]:
    async with letter_desk(stage.settings, tmp_path) as opened:
        yield opened


async def reject(stage: Stage, *, queue: str = QUEUE) -> None:
    """Somebody takes the next frame of the queue and rejects it."""
    source = await stage.client.get_queue(queue, ensure=False)

    async def rejected() -> bool:
        message = await source.get(fail=False)
        if message is not None:
            await message.reject(requeue=False)
        return message is not None

    await until(rejected, lambda: f"nothing came to {queue}")


async def test_each_envelope_of_the_frame_is_a_letter_of_its_own_tenant(desk: Stage) -> None:
    one, other = TenantId(uuid4()), TenantId(uuid4())
    asks = [reserve(one), envelope(other, ReleaseStock(order_id=OrderId(uuid4()))), reserve(one)]
    await desk.publish(COMMANDS, *asks)
    await reject(desk)
    found = {letter["message_id"]: letter for letter in await taken_in(desk, letters=3)}
    for ask in asks:
        letter = found[ask.id]
        assert (letter["tenant_id"], letter["type"], letter["saga_id"]) == (ask.tenantid, ask.type, ask.sagaid)
        assert (letter["is_native"], letter["is_readable"], letter["exception_type"]) == (True, True, "Rejected")
        assert letter["body"] == ask.model_dump_json(exclude_none=True)
    assert len({letter["fingerprint"] for letter in found.values()}) == 1


async def test_a_frame_that_kills_whoever_takes_it_comes_in_with_the_limit_as_its_reason(desk: Stage) -> None:
    policy = {"pattern": r"^inventory\.commands\.0$", "apply-to": "queues", "priority": 99}
    limits = {"dead-letter-exchange": "dead-letters", "dead-letter-routing-key": QUEUE, "delivery-limit": 1}
    definition = {**limits, "dead-letter-strategy": "at-least-once", "overflow": "reject-publish"}
    await desk.management("PUT", f"/api/policies/{desk.vhost}/test", {**policy, "definition": definition})
    await desk.publish(COMMANDS, reserve(TenantId(uuid4())))
    source = await desk.client.get_queue(QUEUE, ensure=False)

    async def given_up() -> bool:
        message = await source.get(fail=False)
        if message is not None:
            await message.reject(requeue=True)
        return bool(await desk.rows("SELECT FROM ops.letter"))

    await until(given_up, lambda: "the broker does not give it up")
    [letter] = await taken_in(desk, letters=1)
    assert (letter["exception_type"], letter["is_native"], letter["service"]) == ("DeliveryLimit", True, "inventory")


async def test_a_saga_that_was_not_told_is_flagged(desk: Stage, operator: LetterDesk) -> None:
    event = envelope(TenantId(uuid4()), OrderCompleted(order_id=OrderId(uuid4())))
    await desk.publish(COMMANDS, reserve(TenantId(uuid4())))
    await reject(desk)
    await desk.publish(Address("orders.events", "orders.OrderCompleted.v1.0"), event)
    await reject(desk, queue="inventory.events.0")
    flags = {}
    for letter in await taken_in(desk, letters=2):
        shown = (await operator.get(f"/{letter['id']}")).json()
        flags[letter["type"]] = " ".join(shown["flags"])
        assert shown["x_death"][0]["queue"] == letter["queue"]
    assert "its saga was not told" in flags["inventory.ReserveStock.v1"]
    assert "its saga was not told" not in flags["orders.OrderCompleted.v1"]


async def test_a_frame_that_is_none_is_one_letter_that_nobody_can_send_again(desk: Stage) -> None:
    await desk.publish(COMMANDS, '{"no": "envelope"}', "17")
    await reject(desk)
    found = await taken_in(desk, letters=2)
    assert {(letter["is_native"], letter["is_readable"], letter["tenant_id"].int) for letter in found} == {(True, False, 0)}


async def test_the_same_message_given_up_again_is_one_more_death(desk: Stage) -> None:
    ask = reserve(TenantId(uuid4()))
    for deaths in (1, 2):
        await desk.publish(COMMANDS, ask)
        await reject(desk)
        [letter] = await taken_in(desk, letters=1, deaths=deaths)
    assert (letter["deaths"], letter["is_native"]) == (2, True)
