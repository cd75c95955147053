"""Every worker dies once, by SIGKILL, at the worst moments."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from infra.dev.demo_client import Payment
from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from infra.services import MODULES
from tests.system.faulty_worker import PUBLISHED

Arm = Callable[[Stage, str], Awaitable[None]]
_HEARD: Final = {"sagas": "event", "ops": "event"}
"""What a worker dies over: the first command, but these are told by events. With no kind it may die over work of its own."""


async def _before_the_publish(stage: Stage, service: str) -> None:
    await stage.run(service, OAAS_CRASH_AT=f"{service}:committed:{_HEARD.get(service, 'command')}")


async def _before_the_ack(stage: Stage, service: str) -> None:
    await stage.run(service, "tests.system.faulty_worker", service, PUBLISHED)


@pytest.mark.parametrize("arm", [_before_the_publish, _before_the_ack])
async def test_every_worker_dies_after_its_commit_and_each_order_still_ends_right(stage: Stage, arm: Arm) -> None:
    retailer = await stage.retailer("Nine Lives", {"sourdough": (250, 10)})
    await asyncio.gather(*(arm(stage, service) for service in MODULES))
    # Looked up before there is an order: the first to hear of it are dead by the time the second is taken.
    pids = {service: stage.pid(service) for service in MODULES}
    assert None not in pids.values(), "a worker died before there was an order"
    good, too_many = await asyncio.gather(retailer.order({"sourdough": 4}, card="tok_ok"), retailer.order({"sourdough": 11}))
    await asyncio.gather(*(_die_and_rise(stage, service, pid) for service, pid in pids.items() if pid))
    assert (await stage.follow(retailer, good.id)).outcome == "CONFIRMED"
    assert (await stage.follow(retailer, too_many.id)).outcome == "REJECTED OUT_OF_STOCK"
    assert await retailer.payment(good.id) == Payment("CAPTURED", 0, 4 * 250)
    await expect_conserved(stage)


async def _die_and_rise(stage: Stage, service: str, pid: int) -> None:
    await stage.until_dead(service, pid)
    await stage.run(service)
