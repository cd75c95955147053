"""Versions in flight: a saga ends by the rules it began with, whichever releases read the queues, and no reply is lost between them."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from contracts.addresses import dead_letter_queue
from contracts.messages import Envelope, Reply
from contracts.values import SagaId, TenantId
from sagas.consumers import RELEASED
from sagas.engine.coordinator import saga_id
from sagas.engine.released import fingerprint
from tests.integration.answering import Participants, agree, begin, order_placed, participants
from tests.integration.coordinators import coordinating
from tests.integration.messaging import REPLIES, Stage, until
from tests.integration.workers import WorkerProcess

MANY: Final = 300
VERSION_1: Final = {"tenants.ReserveQuota.v1", "inventory.ReserveStock.v1", "orders.ApproveOrder.v1"}
VERSION_2: Final = {"inventory.ReserveStock.v1", "payments.AuthorisePayment.v1", "orders.ApproveOrder.v1"}


class Shy:
    """Participants that answer only when they are told to."""

    def __init__(self) -> None:
        self.silent = True

    def __call__(self, envelope: Envelope) -> Reply | None:
        return None if self.silent else agree(envelope)


@pytest.fixture
async def others(stage: Stage) -> AsyncIterator[Participants]:
    # Sagas of other tests are none of ours.
    await stage.administrator.execute("TRUNCATE sagas.saga, sagas.saga_event, sagas.unheard")
    async with participants(stage.settings.rabbitmq_url) as found:
        yield found


async def place(others: Participants, many: int) -> list[SagaId]:
    """Publish so many orders of ten tenants."""
    tenants = [TenantId(uuid4()) for _ in range(min(10, many))]
    events = [order_placed(tenants[number % len(tenants)]) for number in range(many)]
    await begin(others, events)
    return [saga_id("errand", event.tenantid, event.subject) for event in events]


async def states(stage: Stage, ids: list[SagaId]) -> Counter[tuple[int, str]]:
    rows = await stage.rows("SELECT version, state FROM sagas.saga WHERE id = ANY($1::uuid[])", ids)
    return Counter((row["version"], row["state"]) for row in rows)


async def all_are(stage: Stage, ids: list[SagaId], version: int, state: str) -> None:
    seen: Counter[tuple[int, str]] = Counter()

    async def so() -> bool:
        nonlocal seen
        seen = await states(stage, ids)
        return seen == {(version, state): len(ids)}

    await until(so, lambda: f"{seen}, not {len(ids)} of version {version} {state}")


def asked(others: Participants, ids: list[SagaId]) -> dict[str, int]:
    """How many different commands of each kind these sagas have asked."""
    wanted = set(ids)
    return Counter(kind for kind, _ in {(one.type, one.id) for one in others.asked if one.sagaid in wanted})


async def answer_all(others: Participants) -> None:
    """Answer everything that was asked and not answered."""
    assert isinstance(others.decide, Shy)
    others.decide.silent = False
    silent = list({one.id: one for one in others.asked}.values())
    for first in range(0, len(silent), 50):
        await others.answer(silent[first : first + 50])


async def parked(stage: Stage) -> int:
    return await stage.waiting(dead_letter_queue(REPLIES))


async def test_hundreds_of_sagas_of_version_1_end_by_its_rules_beside_version_2(stage: Stage, others: Participants, tmp_path: Path) -> None:
    others.decide = Shy()
    async with coordinating("old", stage.settings, tmp_path):
        old = await place(others, MANY)
        await all_are(stage, old, 1, "RUNNING")
    async with coordinating("new", stage.settings, tmp_path):
        await answer_all(others)
        new = await place(others, 200)
        await all_are(stage, old, 1, "COMPLETED")
        await all_are(stage, new, 2, "COMPLETED")
    assert asked(others, old) == dict.fromkeys(VERSION_1, MANY)
    assert asked(others, new) == dict.fromkeys(VERSION_2, 200)
    assert await parked(stage) == 0


@pytest.mark.parametrize("before", ["old", "ready"])
async def test_two_releases_on_one_queue_lose_no_reply_and_park_none(
    before: str, stage: Stage, others: Participants, tmp_path: Path
) -> None:
    async with coordinating("new", stage.settings, tmp_path) as new, coordinating(before, stage.settings, tmp_path) as old:
        # Each begins what it hears of with the newest version that it has; replies come to either.
        ids = await place(others, 400)
        ended: Counter[tuple[int, str]] = Counter()

        async def so() -> bool:
            nonlocal ended
            ended = await states(stage, ids)
            return sum(ended.values()) == len(ids) and {state for _, state in ended} == {"COMPLETED"}

        await until(so, lambda: f"{ended}")
        assert min(ended.values()) > 0
        assert {version for version, _ in ended} == {1, 2}, "one of the releases has begun nothing"
        assert "met a process of another release" not in new.log.read_text()
        # The version that is rolled out before it begins spares its replies the detour.
        assert ("met a process of another release" in old.log.read_text()) is (before == "old")
    assert await parked(stage) == 0
    assert await stage.rows("SELECT * FROM sagas.unheard") == []


async def test_while_only_the_old_release_runs_what_it_cannot_read_waits_for_the_new_one(
    stage: Stage, others: Participants, tmp_path: Path
) -> None:
    others.decide = Shy()
    async with coordinating("new", stage.settings, tmp_path):
        ids = await place(others, 100)
        await all_are(stage, ids, 2, "RUNNING")
    async with coordinating("old", stage.settings, tmp_path) as old:
        await answer_all(others)

        async def kept() -> bool:
            return len(await stage.rows("SELECT * FROM sagas.unheard")) == 100

        await until(kept, lambda: "the old release has not kept every reply")
        # Longer than an envelope is tried again before it is parked.
        await asyncio.sleep(2)
        assert "Traceback" not in old.log.read_text()
        assert await states(stage, ids) == {(2, "RUNNING"): 100}
        own = await place(others, 10)
        await all_are(stage, own, 1, "COMPLETED")
    assert await parked(stage) == 0
    async with coordinating("new", stage.settings, tmp_path):
        await all_are(stage, ids, 2, "COMPLETED")
    assert await stage.rows("SELECT * FROM sagas.unheard") == []


async def test_a_process_whose_saga_is_not_as_it_was_released_does_not_start_and_says_why(stage: Stage, tmp_path: Path) -> None:
    record = tmp_path / "released.json"
    known = json.loads(RELEASED.read_text())
    outlined = known["place-order"]["2"]["outline"]
    next(step for group in outlined["steps"] for step in group if step["name"] == "reserve-stock")["name"] = "take-stock"
    known["place-order"]["2"]["fingerprint"] = fingerprint(outlined)
    record.write_text(json.dumps(known))
    code = (
        "import sys; from pathlib import Path; import sagas.consumers; from infra.cli.main import main\n"
        f"sagas.consumers.RELEASED = Path({str(record)!r}); sys.argv = ['oaas', 'worker', 'sagas']; main()"
    )
    process = WorkerProcess([sys.executable, "-c", code], stage.settings, tmp_path)
    exit_code, said = await process.ended(), " ".join(process.log.read_text().split())
    assert exit_code == 2, said
    assert "error: place-order version 2 is not as it was released: step take-stock is called reserve-stock now" in said
    assert "Traceback" not in said
