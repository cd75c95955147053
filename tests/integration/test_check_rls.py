"""`oaas check rls` as an operator types it: over all real schemas, and when something is wrong, or cannot be looked at."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import pytest

from infra.rls.deliberate import DELIBERATE
from infra.rls.lint import lint, looking
from infra.services import MODULES
from infra.settings import Settings
from tests.integration.terminal import oaas, sit_down

BREAK: Final = "ALTER TABLE inventory.shop NO FORCE ROW LEVEL SECURITY"
MEND: Final = "ALTER TABLE inventory.shop FORCE ROW LEVEL SECURITY;"
RLS: Final = ("check", "rls")


@pytest.fixture(autouse=True)
def seated(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {"OAAS_POSTGRES_URL": settings.postgres_url, "OAAS_ROLE_SECRET": settings.role_secret.get_secret_value()}
    sit_down(monkeypatch, tmp_path, COLUMNS="160", **given)


@pytest.fixture
async def broken(administrator: asyncpg.Connection) -> AsyncIterator[None]:
    await administrator.execute(BREAK)
    yield
    await administrator.execute(MEND)


async def test_the_real_schemas_break_no_rule_but_where_it_is_meant_to_be_so(administrator: asyncpg.Connection) -> None:
    report = await lint(administrator, list(MODULES))
    assert [finding.as_json() for finding in report.findings] == []
    assert report.tables > len(MODULES)


async def test_whatever_is_said_to_be_deliberate_is_there_and_says_why(administrator: asyncpg.Connection) -> None:
    report = await lint(administrator, list(MODULES))
    assert {(finding.rule.id, finding.where) for finding in report.deliberate} == set(DELIBERATE)
    assert all(DELIBERATE.values())


async def test_a_sound_platform_ends_with_0_and_says_what_was_looked_at() -> None:
    checked = await oaas(*RLS)
    assert (checked.exit_code, "sound: " in checked.output, " tables with " in checked.output) == (0, True, True), checked.output


@pytest.mark.usefixtures("broken")
async def test_a_finding_ends_with_1_and_its_sql_is_not_broken_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    checked = await oaas(*RLS)
    assert (checked.exit_code, f"  {MEND}\n" in checked.output) == (1, True), checked.output
    assert "rls-not-forced" in checked.output
    assert "1 finding: " in checked.output


@pytest.mark.usefixtures("broken")
async def test_for_a_script_findings_are_one_document_and_only_the_services_named_are_looked_at() -> None:
    checked = await oaas(*RLS, "inventory", "--json")
    told = json.loads(checked.stdout)
    assert (checked.exit_code, told["sound"]) == (1, False)
    [finding] = told["findings"]
    assert (finding["rule"], finding["where"], finding["mend"]) == ("rls-not-forced", "table inventory.shop", MEND)
    assert finding["wrong"]
    assert finding["why"]
    assert (await oaas(*RLS, "orders", "sagas", "--json")).exit_code == 0


@pytest.mark.usefixtures("broken")
async def test_the_check_of_everything_names_it_too() -> None:
    checked = await oaas("check", "schemas", "rls")
    assert checked.exit_code == 1
    assert f"wrong rls        table inventory.shop: row-level security is not forced on the table's owner  →  {MEND}\n" in checked.output
    assert "findings" in json.loads((await oaas("check", "--json", "rls")).stdout), "a flag before the word makes it another command"


async def test_any_login_will_do(settings: Settings, administrator: asyncpg.Connection) -> None:
    await administrator.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    try:
        checked = await oaas(*RLS, "--url", str(httpx.URL(settings.postgres_url).copy_with(username="reader", password="reader")))
        assert checked.exit_code == 0, checked.output
    finally:
        await administrator.execute("DROP ROLE reader")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--url", "postgresql://127.0.0.1:1/oaas"), "could not sign in to PostgreSQL"),
        (("--url", "nowhere"), "--url is no URL"),
        (("--url", "<another database>"), "there is no schema tenants with tables in this database"),
        (("nonsense",), "there is no service 'nonsense'"),
    ],
)
async def test_what_could_not_be_looked_at_is_not_called_sound(settings: Settings, words: tuple[str, ...], told: str) -> None:
    another = str(httpx.URL(settings.postgres_url).copy_with(path="/postgres"))
    failed = await oaas(*RLS, *(another if word == "<another database>" else word for word in words), "--json")
    assert (failed.exit_code, failed.stdout) == (2, ""), failed.output
    assert told in json.loads(failed.stderr)["error"]["message"]


async def test_an_administrator_too_can_only_read_through_it(settings: Settings) -> None:
    async with looking(settings.postgres_url) as connection:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DROP TABLE IF EXISTS public.nothing")


async def test_it_steps_back_from_a_migration_rather_than_stand_in_its_way(settings: Settings, administrator: asyncpg.Connection) -> None:
    migrating = administrator.transaction()
    await migrating.start()
    try:
        await administrator.execute("LOCK TABLE inventory.shop IN ACCESS EXCLUSIVE MODE")
        failed = await oaas(*RLS, "inventory")
        assert (failed.exit_code, "lock timeout" in failed.output) == (2, True), failed.output
    finally:
        await migrating.rollback()


async def test_what_is_looked_for_and_what_is_meant_to_be_so_can_be_read() -> None:
    rules, deliberate = await oaas(*RLS, "--rules"), await oaas(*RLS, "--deliberate", "--json")
    assert (rules.exit_code, deliberate.exit_code) == (0, 0)
    assert "policy-does-not-raise" in rules.output
    assert "the relay deletes what the broker has confirmed" in deliberate.stdout
