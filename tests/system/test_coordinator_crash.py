"""The coordinator dies with a commit that nobody was told of."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.dev.demo_stories import coordinator_crash


async def test_what_the_coordinator_committed_before_it_died_is_sent_by_its_successor(stage: Stage) -> None:
    await coordinator_crash(stage)
    await expect_conserved(stage)
