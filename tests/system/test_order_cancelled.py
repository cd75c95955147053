"""A client does not want its confirmed order any more."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import order_cancelled


async def test_a_cancelled_order_gives_everything_back(stage: Stage) -> None:
    await order_cancelled(stage)
    await expect_conserved(stage)
