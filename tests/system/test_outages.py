"""A server goes away with orders in flight, for longer than any deadline. Nobody is blamed for it."""

import asyncio
import os
import signal

import pytest

from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage

SHORT = {"OAAS_DEADLINE_FACTOR": "0.1"}
"""One second for the quota, three for the stock."""
OUTAGE_S = 5.0
ORDERS = 12


@pytest.mark.parametrize("name", ["postgres", "rabbitmq"])
async def test_an_outage_longer_than_every_deadline_rejects_nothing_that_was_in_flight(stage: Stage, name: str) -> None:
    server = {"postgres": stage.running.servers.postgres, "rabbitmq": stage.running.servers.rabbitmq}[name]
    assert server is not None, "this story needs a server of its own to kill"
    await stage.run("sagas", **SHORT)
    retailer = await stage.retailer("Power Cut", {"sourdough": (250, 100)})
    inventory = stage.pid("inventory")
    assert inventory is not None
    # Frozen, so that every order is in the middle of its way when the server goes.
    os.kill(inventory, signal.SIGSTOP)
    try:
        placed = await asyncio.gather(*(retailer.order({"sourdough": 1}) for _ in range(ORDERS)))
        await asyncio.to_thread(server.kill)
    finally:
        os.kill(inventory, signal.SIGCONT)
    await asyncio.sleep(OUTAGE_S)
    await asyncio.to_thread(server.start)
    ended = [await stage.follow(retailer, order.id, within_s=60) for order in placed]
    assert {order.outcome for order in ended} == {"CONFIRMED"}
    await expect_conserved(stage)
