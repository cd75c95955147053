"""A network that delivers everything twice."""

import asyncio
from collections import Counter

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import order_confirmed
from infra.frames import encode
from tests.system.wire import deliver, tap

ORDERS = 5


async def test_every_message_delivered_twice_and_once_more_later_changes_nothing(stage: Stage) -> None:
    async with tap(stage.running.servers.rabbitmq_url, double=True) as seen:
        retailer = await stage.retailer("Echo Foods", {"sourdough": (250, 12)})
        confirmed = await asyncio.gather(*(retailer.order({"sourdough": 2}, wait_s=30) for _ in range(ORDERS)))
        too_many = await retailer.order({"sourdough": 3}, wait_s=30)
        for verb in ("prepare", "ready", "complete"):
            await retailer.move(confirmed[0].id, verb)
        await expect_conserved(stage)
    assert seen.doubled == len(seen.frames) > 10
    # It passes through every queue behind the last duplicate: once it is completed, those are handled.
    await order_confirmed(stage)
    # By now there would be stock for the order that was refused; all that was ever asked comes a third time.
    await retailer.stock_up("sourdough", 100)
    for queue, envelopes in seen.frames:
        await deliver(stage.running.servers.rabbitmq_url, queue, encode([one.model_dump_json(exclude_none=True) for one in envelopes]))
    await order_confirmed(stage)

    assert [order.outcome for order in confirmed] == ["CONFIRMED"] * ORDERS
    assert too_many.outcome == "REJECTED OUT_OF_STOCK"
    for order in (*confirmed, too_many):
        told = Counter((one.kind, one.words) for one in await retailer.timeline(order.id))
        assert set(told.values()) == {1}, told
    await expect_conserved(stage)
