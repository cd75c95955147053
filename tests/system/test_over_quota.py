"""The quota of the month is used up."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import over_quota


async def test_an_order_over_the_quota_gives_its_stock_back(stage: Stage) -> None:
    await over_quota(stage)
    await expect_conserved(stage)
