"""Letters that nobody wants handled: archived, taken out again, and purged from there only; and the record of all that."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from contracts.values import TenantId
from tests.integration.messaging import Stage, a_tenant, parts
from tests.integration.refusals import NO_RIGHT
from tests.integration.replays import ReplayDesk, replay_desk
from tests.integration.workers import oaas_worker, worker_process


@pytest.fixture(scope="module")
async def desk(open_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplayDesk]:
    """With a worker of the desk, for all tests here; each has its own tenant."""
    await open_stage.empty()
    home = tmp_path_factory.mktemp("desk")
    async with worker_process(oaas_worker("ops"), open_stage.settings, home), replay_desk(open_stage, home) as desk:
        yield desk


@pytest.fixture
async def tenant(open_stage: Stage) -> TenantId:
    async with parts(open_stage.settings) as inventory:
        return await a_tenant(inventory.transaction, APPLE=1_000)


async def audit(desk: ReplayDesk, letter: UUID) -> list[tuple[str, str]]:
    """Verb and outcome of each attempt, the oldest first."""
    page = await desk.done("GET", "/audit", letter=str(letter))
    return [(one["verb"], one["outcome"]) for one in reversed(page["entries"])]


async def test_letters_go_to_the_archive_and_back_and_are_purged_from_there_only(desk: ReplayDesk, tenant: TenantId) -> None:
    [letter] = [letter["id"] for letter in (await letters_of(desk, tenant, 1)).values()]
    refused = await desk.call("DELETE", f"/{letter}", None, None, reason="gone")
    assert (refused.status_code, "only what is in the archive can be purged" in refused.json()["detail"]) == (409, True)
    assert (await desk.done("POST", f"/{letter}/archive", {"reason": "nobody wants it"}))["state"] == "ARCHIVED"
    assert (await desk.call("POST", f"/{letter}/archive", {"reason": "again"})).status_code == 409
    assert (await desk.done("POST", f"/{letter}/restore", {"reason": "a mistake"}))["state"] == "DEAD"
    await desk.done("POST", f"/{letter}/archive", {"reason": "no mistake"})
    assert (await desk.call("DELETE", f"/{letter}", None, None, reason="gone")).status_code == 204
    for table in ("letter", "death", "letter_revision"):
        column = "id" if table == "letter" else "letter_id"
        assert await desk.stage.rows(f"SELECT 1 FROM ops.{table} WHERE {column} = $1", letter) == []
    assert await audit(desk, letter) == [
        ("purge", "REFUSED"),
        ("archive", "DONE"),
        ("archive", "REFUSED"),
        ("restore", "DONE"),
        ("archive", "DONE"),
        ("purge", "DONE"),
    ]


async def letters_of(desk: ReplayDesk, tenant: TenantId, count: int) -> dict[UUID, Any]:
    await desk.dead(tenant, count)
    return await desk.letters(tenant)


async def test_all_that_fit_a_filter_are_counted_then_archived_and_purged(desk: ReplayDesk, tenant: TenantId) -> None:
    await letters_of(desk, tenant, 30)
    chosen = {"filter": {"tenant": str(tenant)}, "reason": "an old test"}
    counted = await desk.done("POST", "/archive", {**chosen, "dry_run": True})
    assert (counted["done"], counted["by_queue"]) == (30, {"inventory.commands.0": 30})
    assert await desk.states(tenant) == {"DEAD": 30}
    await letters_of(desk, tenant, 1)
    done = await desk.done("POST", "/archive", {**chosen, "as_of": counted["as_of"]})
    assert (done["done"], done["left"], done["refused"]) == (30, 0, [])
    # What has died since the dry run was not counted, and is left alone.
    assert await desk.states(tenant) == {"ARCHIVED": 30, "DEAD": 1}
    ids = [str(letter["id"]) for letter in (await desk.letters(tenant)).values()]
    purged = await desk.done("POST", "/purge", {"letters": ids, "reason": "for good"})
    assert (purged["done"], [one["why"].split(": ")[1][:30] for one in purged["refused"]]) == (30, ["only what is in the archive ca"])
    entries = await desk.stage.rows(
        "SELECT verb, outcome, count(*) FROM ops.audit WHERE tenant_id = $1 GROUP BY 1, 2 ORDER BY 1, 2", tenant
    )
    assert [tuple(row) for row in entries] == [("archive", "DONE", 30), ("purge", "DONE", 30), ("purge", "REFUSED", 1)]
    [kept] = await desk.stage.rows("SELECT DISTINCT reason, filter FROM ops.audit WHERE tenant_id = $1 AND verb = 'archive'", tenant)
    assert (kept["reason"], str(tenant) in kept["filter"]) == ("an old test", True)


async def test_a_verb_on_everything_is_refused(desk: ReplayDesk) -> None:
    bodies: list[dict[str, Any]] = [{"filter": {}}, {"filter": {"state": "SETTLED"}}, {"letters": []}, {}]
    for body in bodies:
        assert (await desk.call("POST", "/archive", {**body, "reason": "x"})).status_code == 422


async def test_nobody_changes_what_was_done(desk: ReplayDesk, tenant: TenantId) -> None:
    [letter] = [letter["id"] for letter in (await letters_of(desk, tenant, 1)).values()]
    await desk.done("POST", f"/{letter}/archive", {"reason": "x"})
    for statement in ("UPDATE ops.audit SET actor = 'x'", "DELETE FROM ops.audit", "TRUNCATE ops.audit"):
        with pytest.raises(NO_RIGHT, match="for good"):
            await desk.stage.administrator.execute(statement)
    first = await desk.done("GET", "/audit", limit=1)
    second = await desk.done("GET", "/audit", limit=1, cursor=first["next"]) if first["next"] else {"entries": []}
    assert {one["id"] for one in first["entries"]}.isdisjoint(one["id"] for one in second["entries"])
