"""`why` tells the whole story of an order from any id that belongs to it, in plain words."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.inventory import StockReserved
from contracts.orders import OrderCancelRequested, OrderRejected
from contracts.values import OrderId, SagaId, TenantId
from sagas.engine.coordinator import saga_id
from sagas.engine.instance import ABANDON_STEP, Phase, State, command_id
from tests.integration.desk import FAULT, WAY_TO, Desk, envelope, skipped


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


async def test_ids_without_dashes_and_whole_traceparents_lead_to_the_story_too(desk: Desk) -> None:
    trace = uuid4().hex
    id = await desk.place(traceparent=f"00-{trace}-0123456789abcdef-01")
    shown = await desk.show(id)
    for asked, what in (
        (UUID(shown["order"]).hex, "order"),
        (id.hex, "saga"),
        (UUID(shown["events"][0]["message_id"]).hex.upper(), "message"),
        (f"00-{trace}-fedcba9876543210-00", "trace"),
    ):
        told = await story(desk, asked)
        assert (told["found_as"], [one["saga_id"] for one in told["sagas"]]) == (what, [str(id)]), asked
    nowhere = await desk.get(f"/why/00-{uuid4().hex}-0123456789abcdef-01")
    assert (nowhere.status_code, "a trace" in nowhere.json()["detail"]) == (404, True)


async def test_an_order_that_has_not_arrived_makes_people_look_at_the_sagas_worker(desk: Desk) -> None:
    order = uuid4()
    told = (await desk.get(f"/why/{order}")).json()["detail"]
    assert f"An order that GET /v1/orders/{order} knows but this does not has not reached the sagas' worker: is it running?" in told
    assert "GET /v1/orders/ID" in (await desk.get("/why/nonsense")).json()["detail"]


async def test_a_time_that_nobody_acted_on_makes_people_look_at_the_sagas_worker(desk: Desk) -> None:
    going, late = await only(desk, await desk.place()), await only(desk, await desk.place_before(minutes=2))
    assert not any("`sagas`" in line for line in going["to_do"])
    assert any("is the worker `sagas` running?" in line and "oaas saga list --stuck" in line for line in late["to_do"])
    assert any("this try ended" in line for line in late["waits_for"])
    assert "Nothing: it goes on alone." not in late["to_do"]


@pytest.mark.parametrize("state", [State.COMPENSATING, State.COMPLETING, State.ABANDONING])
async def test_what_must_be_answered_and_is_not_names_the_service_that_may_be_down(desk: Desk, state: State) -> None:
    id = await desk.bring_to(state)
    asked = {State.COMPENSATING: "tenants", State.COMPLETING: "payments", State.ABANDONING: "orders"}[state]
    assert (await only(desk, id))["to_do"] == ["Nothing: it goes on alone."]
    for _ in range(2):
        await desk.act("retry", id)
    told = await only(desk, id)
    [line] = told["to_do"]
    assert line.startswith(f"{asked} has been asked 3 times for ")
    assert f"its worker may be down. See that the worker `{asked}` runs" in line
    assert any(f"asked 3 times of {asked}" in waits and "asked again" in waits for waits in told["waits_for"])


async def test_a_stuck_saga_names_the_services_that_are_asked(desk: Desk) -> None:
    told = await only(desk, await desk.place_before(minutes=20))
    assert any("See that the workers run that are asked (tenants, inventory), then ask again" in line for line in told["to_do"]), told[
        "to_do"
    ]
    assert any("Mend what failed in inventory" in line for line in (await only(desk, await desk.bring_to(State.PARKED)))["to_do"])


async def test_before_a_contradicted_step_is_asked_again_somebody_has_to_find_out_what_is_true(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    await desk.answer(id, ("reserve-stock", Phase.ASK, OrderRejected()))
    told = await only(desk, id)
    assert told["state"] == "NEEDS_ATTENTION"
    assert any(f"Find out what is true at inventory, then ask again: oaas saga retry {id}" in line for line in told["to_do"])


async def test_a_skipped_undo_is_told_as_somebodys_word_and_never_as_undone(desk: Desk) -> None:
    id = await desk.bring_to(State.COMPENSATING)
    await desk.act("skip", id, "given back by hand")
    await desk.answer(id, (ABANDON_STEP, Phase.ABANDON, OrderRejected()))
    told = await only(desk, id)
    assert told["state"] == "ABANDONED"
    assert told["undone"] == ["reserve-quota: its undo was taken as done on developer's word."]
    assert "undo of reserve-quota was taken as done on developer's word." in told["where"]
    words = [event["words"] for event in (await desk.show(id))["events"]]
    for line in (*told["where"], *words):
        assert "nothing is held" not in line.lower() or "not sure that nothing is held" in line


async def test_a_skipped_step_is_told_as_somebodys_word(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    await desk.act("skip", id, "counted by hand", answer=skipped("reserve-stock"))
    assert "reserve-stock was taken as done on developer's word." in (await only(desk, id))["where"]


async def test_an_ended_saga_that_was_contradicted_says_what_to_put_right_by_hand(desk: Desk) -> None:
    id = await desk.bring_to(State.ABANDONED)
    await desk.answer(id, ("reserve-stock", Phase.ASK, StockReserved(reservation_id=uuid4())))
    told = await only(desk, id)
    assert told["where"][0] == "It was abandoned, and it is not sure that nothing is held for it any more."
    [line] = told["to_do"]
    assert line.startswith(f"Look at inventory: what is true there of reserve-stock for order {told['order']}?")
    assert "The saga has ended and moves no more, so put it right there by hand." in line


async def test_an_answer_that_an_operator_had_overtaken_is_looked_into_before_and_after_the_end(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    await desk.act("skip", id, "counted by hand", answer=skipped("reserve-stock"))
    await desk.answer(id, ("reserve-stock", Phase.ASK, StockReserved(reservation_id=uuid4())))
    told = await only(desk, id)
    assert told["to_do"] == ["Look at inventory: it has answered reserve-stock itself, and not as developer said."]
    assert any("after an operator had given the answer: reserve-stock" in line for line in told["failed"])
    await desk.answer(id, *WAY_TO[State.COMPLETED][2:])
    told = await only(desk, id)
    assert told["state"] == "COMPLETED"
    assert told["where"][0] == "It is done, and part of it is not sure."
    assert told["to_do"][0].startswith("Look at inventory: what is true there of reserve-stock")


async def test_a_parked_saga_says_when_it_is_given_up_and_a_paused_one_no_end_of_a_try(desk: Desk) -> None:
    parked, paused = await only(desk, await desk.bring_to(State.PARKED)), await only(desk, await desk.bring_to(State.PAUSED))
    assert any("Somebody to mend the fault, until" in line and "then it is given up" in line for line in parked["waits_for"])
    assert not any("this try" in line or "asked again" in line or "(in " in line for line in paused["waits_for"])


async def test_the_fields_of_the_answer_that_skip_needs_are_named(desk: Desk) -> None:
    parked, attention = await only(desk, await desk.bring_to(State.PARKED)), await only(desk, await desk.bring_to(State.NEEDS_ATTENTION))
    assert any("""--step 'reserve-stock' --answer '{"reservation_id": "..."}'""" in line for line in parked["to_do"])
    assert any("--step 'undo of reserve-stock' --answer '{}'" in line for line in attention["to_do"])


async def test_the_same_order_id_in_two_tenants_is_told_for_both(desk: Desk) -> None:
    id = await desk.bring_to(State.RUNNING)
    order = (await desk.show(id))["order"]
    other = TenantId(uuid4())
    theirs = await desk.place(tenant_id=other, order=OrderId(order))
    assert {one["saga_id"] for one in (await story(desk, order))["sagas"]} == {str(id), str(theirs)}
