"""Every worker dies once, by SIGKILL, at the worst moments."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from infra.dev.demo_client import Payment
from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.services import MODULES
from tests.system.faulty_worker import PUBLISHED

Arm = Callable[[Stage, str], Awaitable[None]]


async def _before_the_publish(stage: Stage, service: str) -> None:
    await stage.run(service, OAAS_CRASH_AT=f"{service}:committed")


async def _before_the_ack(stage: Stage, service: str) -> None:
    await stage.run(service, "tests.system.faulty_worker", service, PUBLISHED)


@pytest.mark.parametrize("arm", [_before_the_publish, _before_the_ack])
async def test_every_worker_dies_after_its_commit_and_each_order_still_ends_right(stage: Stage, arm: Arm) -> None:
    retailer = await stage.retailer("Nine Lives", {"sourdough": (250, 10)})
    await asyncio.gather(*(arm(stage, service) for service in MODULES))
    good, too_many = await asyncio.gather(retailer.order({"sourdough": 4}, card="tok_ok"), retailer.order({"sourdough": 11}))
    await asyncio.gather(*(_die_and_rise(stage, service) for service in MODULES))
    assert (await stage.follow(retailer, good.id)).outcome == "CONFIRMED"
    assert (await stage.follow(retailer, too_many.id)).outcome == "REJECTED OUT_OF_STOCK"
    assert await retailer.payment(good.id) == Payment("CAPTURED", 0, 4 * 250)
    await expect_conserved(stage)


async def _die_and_rise(stage: Stage, service: str) -> None:
    pid = stage.pid(service)
    assert pid is not None, f"{service} died before there was an order"
    await stage.until_dead(service, pid)
    await stage.run(service)
