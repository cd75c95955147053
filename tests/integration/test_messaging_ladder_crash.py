"""A process that dies on the way to the retry ladder: the message waits there, or comes again, or both, and has one effect."""

import signal
import sys
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from contracts.addresses import dead_letter_queue, queues
from contracts.values import TenantId
from tests.integration.messaging import COMMANDS, REPLIES, Stage, a_tenant, items, levels, nobody, parts, reserve, until
from tests.integration.workers import WorkerProcess, worker_process

DEAD: Final = dead_letter_queue(COMMANDS.routing_key)
# Inventory sends commands nowhere but to the ladder.
POINTS: Final = ("outbox", "committed", "confirmed", "ack")


@pytest.mark.parametrize("point", POINTS)
async def test_a_message_whose_process_dies_while_it_is_put_on_the_ladder_has_one_effect(stage: Stage, tmp_path: Path, point: str) -> None:
    async with parts(stage.settings, hand_over=nobody) as own:
        tenant_id = await a_tenant(own.transaction, APPLE=10)
    ask = reserve(tenant_id)
    command = [sys.executable, "-m", "tests.integration.passing_worker", str(tmp_path)]
    quick = {"OAAS_RESEND_AFTER_S": "0.5", "OAAS_LOG_LEVEL": "ERROR"}
    dying = WorkerProcess(command, stage.settings, tmp_path, OAAS_CRASH_AT=f"inventory:{point}:command", **quick)
    await dying.consumes()
    await stage.publish(COMMANDS, ask)
    assert await dying.ended() == -signal.SIGKILL
    (tmp_path / "mended").touch()
    async with worker_process(command, stage.settings, tmp_path, **quick):
        first = items(await stage.read(REPLIES, 1))
        await until(lambda: _is_settled(stage), lambda: "something waits on")
    again = items(await stage.read(REPLIES, 0))
    # Asked twice, it answers twice, with the same answer.
    assert {reply["id"] for reply in again} <= {first[0]["id"]}
    assert first[0]["type"] == "inventory.StockReserved.v1"
    assert await levels(stage, tenant_id) == [("APPLE", 9, 1)]
    assert await stage.waiting(DEAD) == 0


async def _is_settled(stage: Stage) -> bool:
    rows = await stage.rows("SELECT FROM inventory.outbox")
    return not rows and not any([await stage.waiting(queue) for queue in queues() if queue != REPLIES])


async def test_without_a_second_message_there_is_still_the_first(stage: Stage, tmp_path: Path) -> None:
    """Killed for good between the retry's commit and everything else: the outbox has it, and any process of the service publishes it."""
    ask = reserve(TenantId(uuid4()))
    command = [sys.executable, "-m", "tests.integration.passing_worker", str(tmp_path)]
    dying = WorkerProcess(command, stage.settings, tmp_path, OAAS_CRASH_AT="inventory:committed:command", OAAS_LOG_LEVEL="ERROR")
    await dying.consumes()
    await stage.publish(COMMANDS, ask)
    assert await dying.ended() == -signal.SIGKILL
    [row] = await stage.rows("SELECT exchange, routing_key, headers FROM inventory.outbox")
    assert row["exchange"].startswith("retry.500.")
    assert row["routing_key"] == COMMANDS.routing_key
    assert row["headers"] == '{"x-attempt": 1}'
