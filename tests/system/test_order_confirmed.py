"""The first story: everything goes well."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import order_confirmed


async def test_a_completed_order_consumes_its_stock_and_settles_its_quota(stage: Stage) -> None:
    await order_confirmed(stage)
    await expect_conserved(stage)
