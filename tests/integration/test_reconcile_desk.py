"""What operators meet when they compare the services' books: nothing where nothing is wrong, large tenants in parts, what is not theirs."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pytest

from contracts.inventory import ReserveStock
from contracts.orders import OrderPlaced, RejectOrder
from contracts.values import TenantId
from infra import clock
from infra.reconcile import known_tenants, open_keepers
from infra.settings import Settings
from services.ops.books.comparing import Comparing
from tests.conformance.places import opened
from tests.integration.processes import Pools, pools
from tests.integration.reconciled import after_a_while, compared, oaas, order_gone, rejected_in_vain
from tests.integration.town import Town
from tests.integration.troubled import World

LONG_S: Final = 10.0**9
RUNS: Final = 12


@pytest.fixture
async def platform(settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pools]:
    caplog.set_level("CRITICAL")
    monkeypatch.setattr("infra.consumer._AFTER_A_CRASH_S", 0.0)
    monkeypatch.setattr("services.payments.calling.Calls._pause_after", lambda *_: timedelta(seconds=1))
    async with pools(settings) as opened:
        yield opened


@pytest.mark.timeout(300)
async def test_nothing_is_found_after_days_of_trouble_in_which_every_promise_was_kept(platform: Pools, settings: Settings) -> None:
    # These days are long ago, so none is too old to be compared, and none is forgotten.
    ages = settings.model_copy(update={"reconcile_back_s": LONG_S, "reconcile_forgotten_s": LONG_S})
    orders = 0
    for seed in range(RUNS):
        world = await World(platform, seed).run()
        async with open_keepers(ages) as keepers, opened(settings, "ops") as desk:
            comparing = Comparing(keepers, desk, ages)
            for tenant in world.tenants:
                seen = await comparing.compare(tenant.tenant_id, clock.now())
                orders += seen.orders
                assert [(one.kind, one.what) for one in seen.findings] == [], f"seed {seed}"
    assert orders > RUNS


async def test_what_has_moved_within_the_grace_is_left_alone(town: Town) -> None:
    await rejected_in_vain(town)
    # Its books have moved a moment ago: what the order holds may be on its way back.
    assert await compared(town) == []
    await town.age()
    assert len(await compared(town)) == 3


async def test_what_has_changed_at_the_second_look_is_not_found(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    order = await rejected_in_vain(town)
    await town.age()

    async def meanwhile() -> None:
        await town.administrator.execute(
            "UPDATE inventory.stock_hold SET changed_at = changed_at + interval '1 s' WHERE tenant_id = $1 AND order_id = $2",
            town.tenant_id,
            order,
        )

    # Not asyncio.sleep: the server in this process sleeps as well.
    monkeypatch.setattr("services.ops.books.comparing._pause", meanwhile)
    assert await compared(town) == []


async def test_the_second_look_at_many_tenants_waits_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    towns = [await town.of_another_tenant().open() for _ in range(3)]
    for one in towns:
        await one.corrupt("UPDATE inventory.stock SET held = held + 2, available = available - 2 WHERE tenant_id = $1")
    pauses = 0

    async def counted() -> None:
        nonlocal pauses
        pauses += 1

    async with open_keepers(town.settings) as keepers:
        comparing = Comparing(keepers, town.transactions["ops"], town.settings)
        looks = [await comparing.look(one.tenant_id, clock.now()) for one in towns]
        monkeypatch.setattr("services.ops.books.comparing._pause", counted)
        compared = await comparing.settle(looks)
    assert [[found.kind for found in one.findings] for one in compared] == [["stock-unbalanced"]] * 3
    assert pauses == 1


async def test_a_tenant_with_many_orders_is_compared_in_parts_and_each_says_nothing_of_the_others(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ops.books.reconcile_api._CALL_S", 0)
    monkeypatch.setattr("services.ops.books.comparing._TOGETHER", 1)
    orders = sorted([await rejected_in_vain(town) for _ in range(3)])
    await town.corrupt("UPDATE inventory.stock SET held = held + 2, available = available - 2 WHERE tenant_id = $1")
    operator, body = town.api.token("ops"), {"tenant": str(town.tenant_id)}
    await town.age()
    parts = [(await town.api.call("POST", "/v1/ops/reconcile", operator, body)).json()]
    while parts[-1]["next"] is not None:
        more = {**body, "after": parts[-1]["next"], "after_order": parts[-1]["next_order"]}
        parts.append((await town.api.call("POST", "/v1/ops/reconcile", operator, more)).json())
    keys = [sorted({one["key"] for one in part["findings"] if one["kind"] == "orphan-stock"}) for part in parts]
    assert keys == [[str(order)] for order in orders]
    assert ["stock-unbalanced" in {one["kind"] for one in part["findings"]} for part in parts] == [True, False, False]
    assert [(part["orders"], part["tenants"], part["left"]) for part in parts] == [(1, 0, 1), (1, 0, 1), (1, 1, 0)]
    kept = (await town.api.call("GET", f"/v1/ops/reconcile?tenant={town.tenant_id}", operator)).json()["findings"]
    assert len(kept) == len(await compared(town)) == 3 * 3 + 1
    # What is wrong no more is gone when its part is looked at, and the other parts' findings stay.
    await town.corrupt(
        "UPDATE orders.customer_order SET status = 'CONFIRMED', rejection = NULL WHERE tenant_id = $1 AND order_id = $2", orders[2]
    )
    await town.corrupt("UPDATE inventory.stock SET held = held - 2, available = available + 2 WHERE tenant_id = $1")
    assert {one["key"] for one in await after_a_while(town)} == {str(order) for order in orders[:2]}


async def test_a_saga_without_its_order_is_ended_by_the_verbs_that_are_printed(town: Town) -> None:
    town.lost = lambda envelope: isinstance(envelope.data, ReserveStock | RejectOrder)
    await order_gone(town, await town.place())
    verbs = []
    while wrong := [one for one in await after_a_while(town) if one["kind"] == "saga-without-order"]:
        verbs.append(wrong[0]["command"].split()[2])
        done = await oaas(wrong[0]["command"])
        assert done.exit_code == 0, done.output
        await town.sweep()
        assert len(verbs) < 5, verbs
    assert verbs == ["cancel", "skip"]
    assert await after_a_while(town) == []


async def test_a_lost_message_that_lies_at_the_desk_is_to_be_replayed(town: Town) -> None:
    town.lost = lambda envelope: isinstance(envelope.data, OrderPlaced)
    order = await town.place()
    letter = uuid4()
    await town.administrator.execute(
        """INSERT INTO ops.letter (tenant_id, id, queue, service, type, message_id, subject, state, fingerprint, exception_type, error,
               stack, build, attempts, deaths, is_native, is_readable, first_died_at, died_at, changed_at, form, body, headers)
           VALUES ($1, $2, 'sagas.events.0', 'sagas', 'orders.OrderPlaced.v1', $2, $3, 'DEAD', 'f', 'Bug', '', '', '', 1, 1, false, true,
               now(), now(), now(), 'ENVELOPE', '{}', '{}')""",
        town.tenant_id,
        letter,
        str(order),
    )
    [one] = await after_a_while(town)
    assert one["kind"] == "order-without-saga"
    assert one["command"] == f"oaas dead-letters replay {letter} --reason '...'"
    refused = await oaas(f"oaas reconcile mend order-without-saga --tenant {town.tenant_id} --order {order} --reason x")
    assert refused.exit_code == 1
    assert f"oaas dead-letters replay {letter}" in " ".join(refused.output.split())


async def test_totals_are_mended_before_what_goes_by_them(town: Town) -> None:
    order = await town.place()
    await town.corrupt("UPDATE tenants.quota_hold SET pence = pence + 1 WHERE tenant_id = $1 AND order_id = $2", order)
    totals, differing = await after_a_while(town)
    assert (totals["kind"], differing["kind"]) == ("quota-unbalanced", "quota-differs")
    refused = await oaas(f"{differing['command']} --yes")
    assert (refused.exit_code, totals["command"] in " ".join(refused.output.split())) == (1, True)
    accepting = await oaas(totals["command"].replace("mend", "accept"))
    assert (accepting.exit_code, "everything else goes by it" in " ".join(accepting.output.split())) == (1, True)
    assert [(await oaas(f"{one['command']} --yes")).exit_code for one in (totals, differing)] == [0, 0]


async def test_what_is_not_there_is_not_mended_and_the_attempt_is_recorded(town: Town) -> None:
    order = await town.place()
    await town.age()
    refused = await oaas(f"oaas reconcile mend orphan-stock --tenant {town.tenant_id} --order {order} --reason 'ticket 4711'")
    assert (refused.exit_code, "there is no orphan-stock" in " ".join(refused.output.split())) == (1, True)
    operator = town.api.token("ops")
    asked = {"kind": "orphan-stock", "tenant": str(town.tenant_id), "key": str(order), "reason": "ticket 4711"}
    assert (await town.api.call("POST", "/v1/ops/reconcile/mend", operator, asked)).status_code == 409
    assert await town.state("inventory.stock_hold", "state", order) == "HELD"
    listed = (await town.api.call("GET", f"/v1/ops/dead-letters/audit?tenant={town.tenant_id}", operator)).json()
    [entry] = listed["entries"]
    assert (entry["verb"], entry["reason"], entry["outcome"]) == ("reconcile mend", "ticket 4711", "REFUSED")


async def test_an_operator_of_one_tenant_neither_sees_nor_mends_another_s(town: Town) -> None:
    order = await rejected_in_vain(town)
    await town.age()
    assert len(await compared(town)) == 3
    stranger = town.api.token("ops", tenant_id=uuid4())
    own = town.api.token("ops", tenant_id=town.tenant_id)
    assert (await town.api.call("GET", "/v1/ops/reconcile", stranger)).json()["findings"] == []
    assert len((await town.api.call("GET", "/v1/ops/reconcile", own)).json()["findings"]) == 3
    asked = {"kind": "orphan-stock", "tenant": str(town.tenant_id), "key": str(order), "reason": "x"}
    assert (await town.api.call("POST", "/v1/ops/reconcile/mend", stranger, asked)).status_code == 403
    assert (await town.api.call("POST", "/v1/ops/reconcile", stranger, {"tenant": str(town.tenant_id)})).status_code == 403
    assert (await town.api.call("POST", "/v1/ops/reconcile", town.api.token("orders:read"), {})).status_code == 403
    asked["confirm"] = "release-stock"
    assert (await town.api.call("POST", "/v1/ops/reconcile/mend", own, asked)).status_code == 200


async def test_every_tenant_that_any_service_knows_is_compared(town: Town) -> None:
    await town.place()
    unknown = TenantId(uuid4())
    await town.administrator.execute(
        "INSERT INTO inventory.stock_hold VALUES ($1, $2, 'reserve-stock', 'NEW', NULL, NULL, now(), now())", unknown, uuid4()
    )
    async with open_keepers(town.settings) as keepers:
        assert {town.tenant_id, unknown} <= set(await known_tenants(keepers))


async def test_the_printed_table_names_each_thing_and_its_command(town: Town) -> None:
    order = await rejected_in_vain(town)
    await town.age()
    printed = await oaas(f"oaas reconcile --tenant {town.tenant_id}")
    assert printed.exit_code == 1
    assert "3 things are wrong: 1 orders of 1 tenants were compared" in printed.output
    assert f"oaas reconcile mend orphan-stock --tenant {town.tenant_id} --order {order} --reason '...'" in printed.output
    assert "mending releases what is held: 1 APPLE can be sold again" in printed.output
    accepting = f"oaas reconcile accept orphan-charge --tenant {town.tenant_id} --order {order} --reason '...'  # if it is known and right"
    assert accepting in printed.output
