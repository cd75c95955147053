"""A payment provider that takes the money and never answers."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import paid_by_card


async def test_a_provider_that_falls_silent_charges_once(stage: Stage) -> None:
    await paid_by_card(stage)
    await expect_conserved(stage)
