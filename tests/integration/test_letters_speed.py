"""10 000 dead letters of 12 causes and 50 tenants are 12 lines within a second, over HTTP."""

import time
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from contracts.values import TenantId
from infra.settings import Settings
from tests.integration.letters import LetterDesk, letter_desk
from tests.integration.many_letters import CAUSES, add_letters, forget_letters

LETTERS = 10_000
TENANTS = 50


@pytest.fixture(scope="module")
async def desk(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LetterDesk]:
    administrator = await asyncpg.connect(settings.postgres_url)
    await forget_letters(administrator)
    # The tables were empty when the server looked at them last, as they are on the night on which they fill.
    await add_letters(administrator, LETTERS, TENANTS)
    async with letter_desk(settings, tmp_path_factory.mktemp("desk")) as opened:
        yield opened
    await forget_letters(administrator)
    await administrator.close()


async def test_ten_thousand_letters_of_twelve_causes_are_grouped_within_a_second(desk: LetterDesk) -> None:
    took: list[float] = []
    for _ in range(3):
        began = time.monotonic()
        answer = await desk.get("/groups")
        took.append(time.monotonic() - began)
    found = answer.json()
    assert (found["total"], found["causes"], len(found["groups"])) == (LETTERS, CAUSES, CAUSES)
    assert {group["tenants"] for group in found["groups"]} == {TENANTS}
    assert sum(group["count"] for group in found["groups"]) == LETTERS
    assert all(group["error"] for group in found["groups"])
    # The first time too.
    assert max(took) < 1, took


async def test_each_page_comes_within_a_second(desk: LetterDesk) -> None:
    began = time.monotonic()
    page = (await desk.get(limit=200)).json()
    for _ in range(5):
        page = (await desk.get(limit=200, cursor=page["next"])).json()
    assert len(page["letters"]) == 200
    assert time.monotonic() - began < 6


async def test_a_tenants_groups_are_its_own(desk: LetterDesk) -> None:
    tenant = TenantId(UUID(int=3))
    found = (await desk.get("/groups", tenant)).json()
    assert {group["tenants"] for group in found["groups"]} == {1}
    assert 0 < found["total"] < LETTERS / TENANTS * 2
