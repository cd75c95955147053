"""Too little on the shelf."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import out_of_stock


async def test_an_order_that_finds_too_little_stock_gives_its_quota_back(stage: Stage) -> None:
    await out_of_stock(stage)
    await expect_conserved(stage)
