"""What the stories about reconciling share: a terminal beside a town, what is compared there, and what goes wrong most often."""

import asyncio
import json
import os
import shlex
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from contracts.values import OrderId
from infra.cli.main import app
from tests.integration.town import Town


async def at_a_terminal(shared: Town, monkeypatch: pytest.MonkeyPatch) -> Town:
    """A tenant for each test, and a terminal in the home whose key the API trusts."""
    for name in [name for name in os.environ if name.startswith("OAAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OAAS_HOME", str(shared.api.home))
    monkeypatch.setenv("OAAS_API_URL", shared.base_url)
    monkeypatch.setattr("services.ops.books.comparing._SECOND_LOOK_AFTER_S", 0.05)
    return await shared.of_another_tenant().open()


async def oaas(command: str, answers: str | None = None) -> Result:
    """The command in a thread of its own: the API answers in this one."""
    return await asyncio.to_thread(CliRunner().invoke, app, shlex.split(command)[1:], input=answers)


async def compared(town: Town) -> list[dict[str, Any]]:
    """What is wrong; the command's exit code says the same."""
    result = await oaas(f"oaas reconcile --tenant {town.tenant_id} --json")
    listed: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    assert result.exit_code == (1 if any(one["accepted_by"] is None for one in listed) else 0), result.output
    return listed


async def after_a_while(town: Town) -> list[dict[str, Any]]:
    """What is wrong, when everything has come to rest."""
    await town.age()
    return await compared(town)


async def order_gone(town: Town, order: OrderId) -> None:
    for table in ("order_line", "customer_order"):
        await town.corrupt(f"DELETE FROM orders.{table} WHERE tenant_id = $1 AND order_id = $2", order)


async def rejected_in_vain(town: Town) -> OrderId:
    """An order that ended without what it holds."""
    order = await town.place()
    await town.corrupt(
        "UPDATE orders.customer_order SET status = 'REJECTED', rejection = 'FAULT' WHERE tenant_id = $1 AND order_id = $2", order
    )
    return order
