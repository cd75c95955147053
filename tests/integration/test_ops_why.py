"""`why` tells the whole story of an order from any id that belongs to it, in plain words."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from contracts.orders import OrderCancelRequested
from contracts.values import OrderId, SagaId, TenantId
from infra.settings import Settings
from sagas.engine.coordinator import saga_id
from sagas.engine.instance import Phase, State, command_id
from tests.integration.desk import FAULT, Desk, at_the_desk, envelope


@pytest.fixture(scope="module")
async def shared(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with at_the_desk(settings, tmp_path_factory.mktemp("desk")) as desk:
        yield desk


@pytest.fixture
def desk(shared: Desk) -> Desk:
    """A tenant for each test."""
    return shared.of_another_tenant()


async def story(desk: Desk, asked: object) -> dict[str, Any]:
    answer = await desk.get(f"/why/{asked}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def only(desk: Desk, id: SagaId) -> dict[str, Any]:
    [told] = (await story(desk, id))["sagas"]
    found: dict[str, Any] = told
    return found


async def test_every_id_that_belongs_to_an_order_leads_to_its_story(desk: Desk) -> None:
    id = await desk.place(traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
    await desk.place()
    shown = await desk.show(id)
    event = next(fact["message_id"] for fact in shown["events"] if fact["kind"] == "STARTED")
    command = command_id(id, Phase.ASK, "reserve-stock", 1)
    for asked, what in (
        (shown["order"], "order"),
        (shown["order"].upper(), "order"),
        (id, "saga"),
        (event, "message"),
        (command, "message"),
        ("0123456789abcdef0123456789abcdef", "trace"),
    ):
        told = await story(desk, asked)
        mine = [one for one in told["sagas"] if one["tenant_id"] == str(desk.tenant_id)]
        assert (told["found_as"], [one["saga_id"] for one in mine]) == (what, [str(id)]), asked


async def test_all_sagas_of_an_order_are_told_the_oldest_first(desk: Desk) -> None:
    placed = await desk.bring_to(State.COMPLETED)
    order = (await desk.show(placed))["order"]
    await desk.take(envelope(desk.tenant_id, order, OrderCancelRequested(order_id=OrderId(order), reason="late", paid=True)))
    cancelling = saga_id("cancel-order", desk.tenant_id, order)
    for asked in (order, placed, cancelling):
        assert [one["saga_id"] for one in (await story(desk, asked))["sagas"]] == [str(placed), str(cancelling)]


async def test_a_parked_saga_says_what_failed_and_what_to_type(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    told = await only(desk, id)
    assert "parked" in told["where"][0]
    assert any("reserve-stock: asked once" in line and "has given it up" in line for line in told["waits_for"])
    assert any(FAULT.error in line and FAULT.fingerprint in line for line in told["failed"])
    assert any(f"oaas saga retry {id} --reason" in line for line in told["to_do"])
    assert any(f"oaas saga retry --fingerprint {FAULT.fingerprint}" in line for line in told["to_do"])
    assert any(f"oaas saga cancel {id}" in line for line in told["to_do"])


async def test_a_saga_that_turned_back_says_why_and_what_is_undone(desk: Desk) -> None:
    told = await only(desk, await desk.bring_to(State.ABANDONED))
    assert "It turned back because of OUT_OF_STOCK." in told["where"]
    assert any("Refused: reserve-stock (OutOfStock)" in line for line in told["failed"])
    assert told["undone"] == ["reserve-quota: undone."]
    assert told["to_do"] == ["Nothing."]


async def test_who_intervened_is_told_and_so_is_what_was_refused(desk: Desk) -> None:
    id = await desk.bring_to(State.COMPLETING)
    await desk.act("cancel", id, "the client rang")
    await desk.act("pause", id, "looking into it")
    told = await only(desk, id)
    refused, paused = told["people"]
    assert "cancel by developer: the client rang" in refused
    assert "It came to nothing: cannot cancel: it is past the point of no return" in refused
    assert "pause by developer: looking into it" in paused
    assert any(f"oaas saga resume {id}" in line for line in told["to_do"])
    assert any("no time runs for it" in line for line in told["waits_for"])
    assert [missing["until"] for missing in (await desk.show(id))["outstanding"]] == [None]


async def test_a_saga_that_goes_on_alone_needs_nobody_and_a_stuck_one_does(desk: Desk) -> None:
    going, stuck = await only(desk, await desk.place()), await only(desk, await desk.place_before(minutes=20))
    assert going["to_do"] == ["Nothing: it goes on alone."]
    assert any("(in " in line for line in going["waits_for"])
    assert any("It is stuck" in line for line in stuck["where"])
    assert any("oaas saga retry" in line for line in stuck["to_do"])


@pytest.mark.parametrize("state", list(State))
async def test_every_state_is_told_in_words(desk: Desk, state: State) -> None:
    told = await only(desk, await desk.bring_to(state))
    assert not told["where"][0].startswith("It is " + state)
    assert told["to_do"]


async def test_an_id_that_leads_nowhere_says_what_was_looked_for_and_where(desk: Desk) -> None:
    for asked, looked in ((uuid4(), "a message"), (uuid4().hex, "a trace"), ("nonsense", "an order")):
        answer = await desk.get(f"/why/{asked}")
        assert answer.status_code == 404
        assert looked in answer.json()["detail"]
        assert "all tenants" in answer.json()["detail"]


async def test_the_same_order_id_in_two_tenants_is_told_for_both(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    order = (await desk.show(id))["order"]
    other = TenantId(uuid4())
    theirs = await desk.place(tenant_id=other, order=OrderId(order))
    assert {one["saga_id"] for one in (await story(desk, order))["sagas"]} == {str(id), str(theirs)}
