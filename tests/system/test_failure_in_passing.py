"""A command that fails in passing, and waits on the retry ladder."""

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from tests.system.desk import letters_of
from tests.system.faulty_worker import PASSING


async def test_an_order_whose_command_fails_in_passing_is_confirmed_a_little_later(stage: Stage) -> None:
    patient = await stage.retailer("Patient Provisions", {PASSING: (100, 10)})
    await stage.run("inventory", "tests.system.faulty_worker", "inventory", PASSING)
    order = await patient.order({PASSING: 1})
    assert (await stage.follow(patient, order.id)).outcome == "CONFIRMED"
    assert await letters_of(stage, patient.tenant_id) == []
    # It was asked once: waiting is the ladder's business, not the saga's.
    assert "RETRIED" not in {one.kind for one in await patient.timeline(order.id)}
    await expect_conserved(stage)
