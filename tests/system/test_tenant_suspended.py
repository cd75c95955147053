"""A tenant is suspended."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import tenant_suspended


async def test_the_order_of_a_suspended_tenant_is_refused_and_holds_nothing(stage: Stage) -> None:
    await tenant_suspended(stage)
    await expect_conserved(stage)
