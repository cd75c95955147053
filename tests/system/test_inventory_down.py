"""A participant is dead while an order needs it."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import inventory_down


async def test_silence_undoes_an_order_and_its_late_command_has_no_effect(stage: Stage) -> None:
    await inventory_down(stage)
    await expect_conserved(stage)
