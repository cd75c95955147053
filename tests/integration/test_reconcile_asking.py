"""What a customer would notice is mended by somebody who knows it only; what is known and right is accepted, and stays so."""

import json

import pytest

from contracts.values import OrderId
from infra import clock
from infra.reconcile import Case, NothingToMend
from services.orders.reconciling import BOOKS
from services.orders.use_cases import prepare_order
from tests.integration.reconciled import after_a_while, compared, oaas
from tests.integration.town import Town


async def test_what_no_command_mends_is_accepted_and_counts_no_more_until_it_changes(town: Town) -> None:
    order = await town.place()
    await town.complete(order)
    await town.corrupt("UPDATE tenants.quota_hold SET pence = pence + 1 WHERE tenant_id = $1 AND order_id = $2", order)
    await town.age()
    accepting = next(one["command"] for one in await compared(town) if one["kind"] == "quota-differs")
    assert accepting.startswith("oaas reconcile accept quota-differs ")
    await oaas(f"oaas reconcile mend quota-unbalanced --tenant {town.tenant_id} --key {clock.now():%Y-%m} --reason x")
    assert (await oaas(accepting)).exit_code == 0
    [one] = await after_a_while(town)
    assert (one["kind"], one["accepted_by"] is None) == ("quota-differs", False)
    assert (await oaas(f"oaas reconcile --tenant {town.tenant_id}")).exit_code == 0
    await town.corrupt("UPDATE tenants.quota_hold SET pence = pence + 1 WHERE tenant_id = $1 AND order_id = $2", order)
    assert {one["kind"]: one["accepted_by"] for one in await after_a_while(town)} == {"quota-differs": None, "quota-unbalanced": None}


async def other_goods_held(town: Town) -> OrderId:
    """As after somebody has edited the quantity in the letter that asked for the stock."""
    order = await town.place(quantity=2)
    await town.corrupt("UPDATE inventory.stock_hold_line SET quantity = 1 WHERE tenant_id = $1 AND order_id = $2", order)
    await town.corrupt("UPDATE inventory.stock SET held = held - 1, available = available + 1 WHERE tenant_id = $1")
    return order


async def test_a_mend_that_a_customer_notices_says_so_and_is_done_only_by_somebody_who_agrees(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await other_goods_held(town)
    [one] = await after_a_while(town)
    assert (one["kind"], one["confirm"]) == ("stock-differs", "cancel-order")
    assert (
        one["mending"] == "mending cancels the order, as its client could: 1 APPLE can be sold again, 200 pence are refunded in the ledger"
    )
    foreseen = await oaas(f"{one['command']} --dry-run --json")
    assert json.loads(foreseen.stdout) == {"done": None, "mending": one["mending"], "confirm": "cancel-order"}
    refused = await oaas(one["command"])
    assert (refused.exit_code, "say --yes" in refused.output, one["mending"] in refused.output) == (2, True, True)
    monkeypatch.setattr("infra.cli.reconcile.is_somebody_there", lambda: True)
    asked = await oaas(one["command"], "n\n")
    assert (asked.exit_code, f"Cancel order {order}? [y/N]" in asked.output) == (1, True)
    assert await town.state("orders.customer_order", "status", order) == "CONFIRMED"
    asked = await oaas(one["command"], "y\n")
    assert asked.exit_code == 0, asked.output
    assert await town.state("orders.customer_order", "status", order) == "CANCELLING"


async def test_the_route_mends_what_is_named_and_nothing_that_has_become_something_else(town: Town) -> None:
    order = await other_goods_held(town)
    [one] = await after_a_while(town)
    asked = {name: one[name] for name in ("kind", "tenant", "key")} | {"reason": "x"}
    operator = town.api.token("ops")
    for confirm in (None, "reject-order"):
        answer = await town.api.call("POST", "/v1/ops/reconcile/mend", operator, {**asked, "confirm": confirm})
        assert (answer.status_code, answer.json()["title"]) == (409, "Not confirmed")
        assert '"confirm": "cancel-order"' in answer.json()["detail"]
    await town.move(order, prepare_order)
    answer = await town.api.call("POST", "/v1/ops/reconcile/mend", operator, {**asked, "confirm": "cancel-order"})
    assert (answer.status_code, "reconcile accept" in answer.json()["detail"]) == (409, True)
    assert await town.state("orders.customer_order", "status", order) == "PREPARING"


async def test_a_difference_that_is_known_and_right_stays_accepted_while_its_order_goes_on(town: Town) -> None:
    order = await other_goods_held(town)
    [one] = await after_a_while(town)
    assert (await oaas(one["accepting"])).exit_code == 0
    await town.complete(order)
    [one] = await after_a_while(town)
    assert (one["kind"], one["accepted_by"] is None) == ("stock-differs", False)


async def test_an_order_that_has_moved_since_it_was_looked_at_is_not_mended(town: Town) -> None:
    order = await town.place()
    async with town.transactions["orders"](town.tenant_id) as scope:
        seen = await BOOKS.lines(scope, [order])
    await town.move(order, prepare_order)
    # Seen as CONFIRMED it would have been cancelled, and now it would be completed.
    async with town.transactions["orders"](town.tenant_id) as scope:
        with pytest.raises(NothingToMend, match="was CONFIRMED and is PREPARING now"):
            await BOOKS.mends["close"](scope, Case(key=str(order), lines=seen, reason="x"))
