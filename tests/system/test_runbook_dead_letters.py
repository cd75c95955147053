"""docs/runbooks/dead-letters.md, typed command by command on a running platform on which orders really die."""

import asyncio
import json
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika

from contracts.addresses import dead_letter_queue
from infra.cli.main import app
from infra.dev.demo_client import Retailer
from infra.dev.demo_proof import expect_conserved
from infra.dev.demo_stage import Stage, until
from infra.settings import Settings
from infra.token import token
from tests.architecture.citations import section
from tests.architecture.source import document
from tests.integration.terminal import AtATerminal
from tests.system.faulty_worker import POISON

RUNBOOK = document("docs/runbooks/dead-letters.md")
QUEUE = "inventory.commands.0"
TITLES = ("1. Look", "2. Decide", "3. Mend", "4. Replay", "5. Check", "6. Close", "7. The database is down", "Never")


def commands(text: str) -> list[str]:
    """Every line of the text's shell blocks."""
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines() if line.strip()]


@dataclass
class Night:
    """Somebody who follows the runbook, as an operator of the tenant whose orders died: other stories' letters are none of theirs."""

    stage: Stage
    retailer: Retailer
    folder: Path
    words: dict[str, str] = field(default_factory=dict)
    """What stands for the words in capitals."""
    typed: set[str] = field(default_factory=set)
    printed: str = ""

    async def follow(self, title: str, *, only: str = "", exit_code: int = 0) -> None:
        """Type the commands of this part that have these words in them, one after the other."""
        found = [command for command in commands(section(RUNBOOK, title)) if only in command]
        assert found, f"the part {title} has no command with {only!r}"
        for command in found:
            self.typed.add(command)
            filled = re.sub(r"\b[A-Z]{4,}\b", lambda word: self.words[word[0]], command)
            self.printed = await self.type(*shlex.split(filled)[1:], exit_code=exit_code)

    async def type(self, *words: str, exit_code: int = 0) -> str:
        """`oaas` and these words, answering yes to whatever it asks; what it printed."""
        forgotten = dict.fromkeys(name for name in os.environ if name.startswith("OAAS_"))
        terminal = AtATerminal(env={**forgotten, "OAAS_TOKEN": self.token, "OAAS_HOME": str(self.stage.running.home), "COLUMNS": "200"})
        result = await asyncio.to_thread(terminal.invoke, app, words, input="y\n" * 3)
        assert result.exit_code == exit_code, f"oaas {shlex.join(words)} ended with {result.exit_code}:\n{result.output}"
        return result.stdout

    @property
    def token(self) -> str:
        """Of an operator of the tenant."""
        issued = token(Settings(home=self.stage.running.home), tenant=str(self.retailer.tenant_id), scope="ops", ttl="1h")
        return str(issued["token"])

    async def orders_die(self, count: int) -> list[UUID]:
        """So many orders whose stock inventory cannot hold; their sagas are parked."""
        await self.stage.run("inventory", "tests.system.faulty_worker", "inventory", POISON)
        placed = [(await self.retailer.order({POISON: 1})).id for _ in range(count)]
        for id in placed:
            await until(lambda id=id: self._kinds(id), lambda kinds: "PARKED" in kinds, f"order {id} to be parked")  # type: ignore[misc]  # bound now
        return placed

    async def letters(self, count: int) -> list[dict[str, Any]]:
        """The letters that are dead, once there are so many."""

        async def look() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = json.loads(await self.type("dead-letters", "list", "--state", "DEAD", "--json"))["letters"]
            return found

        return await until(look, lambda found: len(found) == count, f"{count} letters")

    async def _kinds(self, id: UUID) -> list[str]:
        return [one.kind for one in await self.retailer.timeline(id)]


async def test_a_tired_person_gets_every_order_through_with_the_runbook_alone(stage: Stage, tmp_path: Path) -> None:
    night = Night(stage, await stage.retailer("Night Shift", {POISON: (100, 50)}), tmp_path)
    orders = await night.orders_die(5)
    newest = (await night.letters(5))[0]
    night.words = {"LETTER": newest["id"], "SAGA": newest["saga_id"], "FINGERPRINT": newest["fingerprint"]}
    night.words["FILE"] = str(tmp_path / "letters.ndjson")
    await look_and_mend(night)
    await stage.run("inventory")
    await replay_with_a_canary(night)
    for id in orders:
        assert (await stage.follow(night.retailer, id)).outcome == "CONFIRMED"
    orders = await night.orders_die(4)
    await night.letters(4)
    await stage.run("inventory")
    await stop_a_replay(night)
    await put_away(night)
    orders += await without_a_database(night)
    await night.type("dead-letters", "replay", "--all", "--reason", "the rest", "--yes")
    for id in orders:
        assert (await stage.follow(night.retailer, id)).outcome == "CONFIRMED"
    await night.follow("5. Check")
    assert set(commands(RUNBOOK)) == night.typed, "every command of the runbook was typed"
    await expect_conserved(stage)


async def look_and_mend(night: Night) -> None:
    await night.follow("1. Look", only="groups")
    assert "5 letters, 1 cause" in night.printed
    assert "Poisoned: No code can handle this SKU." in night.printed
    await night.follow("1. Look", only="show")
    assert "decide_or_strike" in night.printed
    await night.follow("1. Look", only="why")
    assert "parked" in night.printed
    await night.follow("3. Mend", only="edit")
    assert "changed: revision 1" in night.printed
    await night.type("dead-letters", "edit", night.words["LETTER"], "--set", "lines[0].quantity=1", "--reason", "they want one after all")
    await night.follow("3. Mend", only="export")
    await night.follow("3. Mend", only="import")
    assert "0 letters would change, 5 stay as they are" in night.printed


async def replay_with_a_canary(night: Night) -> None:
    await night.follow("4. Replay", only="--dry-run")
    assert "5 letters would be sent again" in night.printed
    night.words["PLAN"] = night.words["REPLAY"] = night.printed.split("\nplan ")[1][:36]
    await night.follow("4. Replay", only="--plan")
    assert "5  settled" in night.printed
    await night.follow("4. Replay", only="replays")
    assert "5  settled" in night.printed


async def stop_a_replay(night: Night) -> None:
    # Nobody is there to send anything, so that it is not over before it can be stopped.
    await night.stage.kill("ops")
    started = await night.type(*shlex.split("dead-letters replay --all --reason slowly --yes --no-wait --json"))
    night.words["REPLAY"] = json.loads(started)["id"]
    for verb, state in (("pause", "PAUSED"), ("resume", "RUNNING"), ("cancel", "CANCELLED")):
        await night.follow("4. Replay", only=f"letters {verb} ")
        assert state in night.printed
    await night.stage.run("ops")


async def put_away(night: Night) -> None:
    left = json.loads(await night.type("dead-letters", "list", "--state", "DEAD", "--json"))["letters"]
    assert left, "cancelled before its end"
    night.words["LETTER"] = left[0]["id"]
    await night.follow("6. Close")
    assert "they want one after all" in night.printed
    assert await night.letters(0) == []
    await night.type("dead-letters", "restore", "--fingerprint", night.words["FINGERPRINT"], "--reason", "it was a drill")
    await night.letters(len(left))


async def without_a_database(night: Night) -> list[UUID]:
    stage, postgres = night.stage, night.stage.running.servers.postgres
    assert postgres is not None, "this story needs a server of its own to stop"
    left = len(await night.letters(len(json.loads(await night.type("dead-letters", "list", "--json"))["letters"])))
    await stage.kill("ops")
    orders = await night.orders_die(3)
    await until(lambda: waiting(stage, QUEUE), lambda count: count == 3, "three letters in the broker")
    await stage.run("inventory")
    await asyncio.to_thread(postgres.kill)
    night.words["FILE"] = str(night.folder / "drained.ndjson")
    try:
        await night.follow("7. The database is down", only="drain")
    finally:
        await asyncio.to_thread(postgres.start)
    assert "3 letters added to" in night.printed
    assert await waiting(stage, QUEUE) == 0
    await stage.run("ops")
    await night.follow("7. The database is down", only="load")
    await night.letters(left + 3)
    return orders


async def waiting(stage: Stage, queue: str) -> int:
    """Letters that wait in the broker for the desk."""
    async with await aio_pika.connect(stage.running.servers.rabbitmq_url) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(dead_letter_queue(queue), passive=True)
        return declared.declaration_result.message_count or 0


def test_the_runbook_has_its_parts_and_each_command_is_one_of_ours() -> None:
    assert tuple(re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)) == TITLES
    assert all(command.startswith("oaas ") for command in commands(RUNBOOK))
    assert len(commands(RUNBOOK)) > 20
