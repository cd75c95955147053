"""The broker takes no messages, for want of memory or disk, for longer than any deadline. Nobody is blamed for it."""

import asyncio
import os
import signal

import pytest

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage
from tests.chaos.outages import ACTS

SHORT = {"OAAS_DEADLINE_FACTOR": "0.4"}
"""Twelve seconds for the stock: time enough to raise an alarm."""
ONE_BY_ONE = {"OAAS_FRAME_ENVELOPES_MAX": "1"}
"""An alarm lets one more frame through on each connection; the other answers stay behind it."""
ALARM_S = 16.0
ORDERS = 12


@pytest.mark.parametrize("alarm", ["RabbitMQ's memory alarm", "RabbitMQ's disk alarm"])
async def test_an_alarm_longer_than_every_deadline_rejects_nothing_that_was_in_flight(stage: Stage, alarm: str) -> None:
    begin, end = ACTS[alarm]
    await asyncio.gather(stage.run("sagas", **SHORT), stage.run("inventory", **ONE_BY_ONE))
    retailer = await stage.retailer("Full Disk", {"sourdough": (250, 100)})
    inventory = stage.pid("inventory")
    assert inventory is not None
    # Frozen, so that every order is asked for when the alarm is raised, and answered under it.
    os.kill(inventory, signal.SIGSTOP)
    try:
        placed = await asyncio.gather(*(retailer.order({"sourdough": 1}) for _ in range(ORDERS)))
        await asyncio.to_thread(begin, stage.running.servers)
    finally:
        os.kill(inventory, signal.SIGCONT)
    try:
        await asyncio.sleep(ALARM_S)
    finally:
        await asyncio.to_thread(end, stage.running.servers)
    ended = [await stage.follow(retailer, order.id, within_s=60) for order in placed]
    assert {order.outcome for order in ended} == {"CONFIRMED"}
    await expect_conserved(stage)
