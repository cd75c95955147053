"""Many want the last units."""

import asyncio
from collections import Counter

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage


async def test_fifty_orders_at_once_for_ten_units_confirm_exactly_ten(stage: Stage) -> None:
    retailer = await stage.retailer("Last Loaves", {"sourdough": (250, 10)})
    orders = await asyncio.gather(*(retailer.order({"sourdough": 1}, wait_s=30) for _ in range(50)))
    assert Counter(order.outcome for order in orders) == {"CONFIRMED": 10, "REJECTED OUT_OF_STOCK": 40}
    await expect_conserved(stage)
