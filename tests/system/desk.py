"""The dead-letter desk as an operator uses it, over HTTP."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from infra.dev.demo_stage import Stage, until


@dataclass(frozen=True)
class Letter:
    """A dead letter, with the headers that it died with."""

    id: UUID
    state: str
    headers: dict[str, str]
    saga: dict[str, Any] | None


async def letters_of(stage: Stage, tenant_id: UUID) -> list[Letter]:
    """The tenant's letters that somebody has to see to."""
    ask = stage._clients._as(tenant_id, "ops")
    found = (await ask("GET", "/v1/ops/dead-letters"))["letters"]
    return [await letter_of(stage, tenant_id, UUID(one["id"])) for one in found]


async def letter_of(stage: Stage, tenant_id: UUID, letter_id: UUID) -> Letter:
    """One of them, as it stands now."""
    found = await stage._clients._as(tenant_id, "ops")("GET", f"/v1/ops/dead-letters/{letter_id}")
    return Letter(letter_id, found["state"], {name: str(value) for name, value in found["headers"].items()}, found["saga"])


async def replay(stage: Stage, tenant_id: UUID, letter_id: UUID) -> None:
    """Plan, start, and wait until the desk has heard that it was handled."""
    ask = stage._clients._as(tenant_id, "ops")
    plan = await ask("POST", "/v1/ops/dead-letters/replays", {"letters": [str(letter_id)], "reason": "inventory is mended"})
    assert plan["total"] == 1, plan
    await ask("POST", f"/v1/ops/dead-letters/replays/{plan['id']}/start", {})
    await until(lambda: letter_of(stage, tenant_id, letter_id), lambda letter: letter.state == "SETTLED", "the letter to be settled")
