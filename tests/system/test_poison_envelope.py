"""A frame in which one envelope cannot be handled."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from tests.system.bad_company import expect_only_the_bad_one_parked, in_one_frame, replay
from tests.system.faulty_worker import POISON


async def test_a_poison_envelope_is_parked_alone_and_nothing_is_lost(stage: Stage) -> None:
    company = await in_one_frame(stage, POISON, POISON)
    letter = await expect_only_the_bad_one_parked(stage, company, POISON)
    assert letter.headers["x-exception-type"] == "Poisoned"
    assert letter.headers["x-exception-message"] == "No code can handle this SKU."
    assert "decide_or_strike" in letter.headers["x-exception-stack"]
    # What is wrong inside is for operators, not for the tenant.
    assert not any("No code" in one.words or "Poisoned" in one.words for one in await company.mixed.timeline(company.bad))
    await expect_conserved(stage, company.sound)
    assert (await replay(stage, company, letter)).outcome == "CONFIRMED"
    await expect_conserved(stage)
