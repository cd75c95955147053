"""A migration beside services that work."""

import asyncio
from typing import Final

import asyncpg
import pytest

from infra import migrate as migrations
from infra.services import migrations_of
from infra.settings import Settings
from tests.integration.messaging import until

SERVICE: Final = "inventory"


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "_LOCK_MAX_S", 0.2)
    monkeypatch.setattr(migrations, "_PAUSE_S", 0.1)


async def migrate(settings: Settings, said: list[str]) -> None:
    given = (SERVICE, migrations_of(SERVICE), settings.postgres_url, settings.role_secret, said.append)
    await asyncio.wait_for(asyncio.to_thread(migrations.migrate, *given), 20)


async def test_a_migration_steps_back_from_a_lock_and_tries_again_saying_so(settings: Settings) -> None:
    said: list[str] = []
    holder = await asyncpg.connect(settings.postgres_url)
    held = holder.transaction()
    await held.start()
    await holder.execute(f"LOCK TABLE public.{SERVICE}_version")
    migrating = asyncio.create_task(migrate(settings, said))

    async def has_said() -> bool:
        return bool(said)

    await until(has_said, lambda: "it waits without a word")
    await held.rollback()
    await migrating
    await holder.close()
    assert "somebody has held what the migration must lock" in said[0]
    assert said[-1] == f"schema {SERVICE} is up to date"
