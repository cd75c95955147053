"""`oaas check` on real servers: all is well, and then something is not."""

import asyncpg
import pytest
from pydantic import SecretStr

from contracts.addresses import work_queues
from contracts.policies import policies, policy_of
from infra.checks import Finding, check
from infra.settings import Settings
from infra.topology import topology
from infra.topology.management import management


def broken(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.detail, finding.mend) for finding in findings if not finding.ok]


async def test_a_migrated_platform_is_well(settings: Settings) -> None:
    await topology.apply(settings)
    assert broken(await check(["postgres", "schemas", "rls", "rabbitmq", "topology"], settings)) == []


async def test_a_table_without_forced_row_level_security_is_named_with_what_mends_it(settings: Settings) -> None:
    administrator = await asyncpg.connect(settings.postgres_url)
    await administrator.execute("ALTER TABLE sagas.saga_event NO FORCE ROW LEVEL SECURITY")
    try:
        [(detail, mend)] = broken(await check(["rls"], settings))
        assert "sagas.saga_event" in detail
        await administrator.execute(mend)
        assert broken(await check(["rls"], settings)) == []
    finally:
        await administrator.execute("ALTER TABLE sagas.saga_event FORCE ROW LEVEL SECURITY")
        await administrator.close()


async def test_a_limit_that_somebody_changed_is_named_with_what_mends_it(settings: Settings) -> None:
    await topology.apply(settings)
    policy = policy_of(work_queues()[0])
    async with management(settings) as broker:
        await broker.put("policies", policy, {**policies()[policy], "definition": {"delivery-limit": 3}})
    try:
        [(detail, mend), *more] = broken(await check(["topology"], settings))
        assert more == []
        assert (policy in detail, "3" in detail, "topology apply" in mend) == (True, True, True), (detail, mend)
    finally:
        await topology.apply(settings)
    assert broken(await check(["topology"], settings)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"role_secret": SecretStr("another")}, "OAAS_ROLE_SECRET is not the one"),
        ({"postgres_url": "postgresql://127.0.0.1:1/oaas"}, "PostgreSQL at OAAS_POSTGRES_URL does not answer"),
    ],
)
async def test_a_wrong_secret_and_a_dead_server_are_told_apart(settings: Settings, changed: dict[str, object], told: str) -> None:
    findings = broken(await check(["postgres"], settings.model_copy(update=changed)))
    assert told in findings[0][0]
