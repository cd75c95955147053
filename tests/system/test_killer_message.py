"""A message that kills every process that handles it."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from tests.system.bad_company import expect_only_the_bad_one_parked, in_one_frame, replay
from tests.system.faulty_worker import KILLER


async def test_a_message_that_kills_its_process_each_time_takes_no_other_along(stage: Stage) -> None:
    # One death after its first redelivery is proof enough here; each costs a start of the worker.
    company = await in_one_frame(stage, KILLER, KILLER, OAAS_DEATHS_MAX="1")
    letter = await expect_only_the_bad_one_parked(stage, company, KILLER)
    assert letter.headers["x-exception-type"] == "KilledItsProcess"
    assert stage.running.supervisor.restarts("inventory") == 2
    await expect_conserved(stage, company.sound)
    assert (await replay(stage, company, letter)).outcome == "CONFIRMED"
    await expect_conserved(stage)
