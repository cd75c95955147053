"""What the coordinator tells of its sagas, and what the desk makes of it: halted, gone on, ended; in whatever order it comes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_core import from_json

from contracts.messages import Envelope
from contracts.values import SagaId
from infra.batch import Batches
from infra.frames import read_envelope
from infra.settings import Settings
from infra.transaction import Transactions
from sagas.engine.instance import State
from services.ops.desk.sagas_seen import SAGAS_SEEN
from tests.conformance.places import opened
from tests.integration.desk import Desk, skipped


@pytest.fixture
async def ops(settings: Settings) -> AsyncIterator[Transactions]:
    async with opened(settings, "ops") as transactions:
        yield transactions


async def told(desk: Desk, id: SagaId) -> list[Envelope]:
    """What was told of the saga, the earliest first."""
    rows = await desk.administrator.fetch("SELECT body, routing_key, exchange FROM sagas.outbox WHERE tenant_id = $1", desk.tenant_id)
    events = [read_envelope(from_json(row["body"])) for row in rows if row["exchange"] == "sagas.events"]
    return sorted((one for one in events if one.sagaid == id), key=lambda one: one.sequence or 0)


def says(event: Envelope) -> tuple[str, str]:
    return type(event.data).__name__, getattr(event.data, "state", "")


WAYS: dict[State, list[tuple[str, str]]] = {
    State.RUNNING: [],
    State.COMPENSATING: [],
    State.PARKED: [("SagaHalted", "PARKED")],
    State.PAUSED: [("SagaHalted", "PAUSED")],
    State.NEEDS_ATTENTION: [("SagaHalted", "NEEDS_ATTENTION")],
    State.COMPLETED: [("SagaEnded", "COMPLETED")],
    State.ABANDONED: [("SagaEnded", "ABANDONED")],
}


@pytest.mark.parametrize("state", WAYS)
async def test_a_saga_tells_when_it_waits_for_people_and_when_it_has_ended(desk: Desk, state: State) -> None:
    id = await desk.bring_to(state)
    events = await told(desk, id)
    assert [says(event) for event in events] == WAYS[state]
    revision = (await desk.show(id))["revision"]
    for event in events:
        assert (event.sequence, event.tenantid, event.subject) == (revision, desk.tenant_id, (await desk.show(id))["order"])


async def test_a_saga_that_waits_says_for_what_and_why(desk: Desk) -> None:
    [event] = await told(desk, await desk.bring_to(State.PARKED))
    data: Any = event.data
    assert (data.saga, data.step, data.fingerprint) == ("place-order", "reserve-stock", "f00d" * 4)


async def test_a_saga_that_goes_on_tells_it_and_its_end_why(desk: Desk) -> None:
    id = await desk.bring_to(State.PARKED)
    assert (await desk.act("skip", id, step="reserve-stock", answer=skipped("reserve-stock"))).status_code == 200
    assert [says(event) for event in await told(desk, id)] == [("SagaHalted", "PARKED"), ("SagaResumed", "RUNNING")]
    refused = await desk.bring_to(State.ABANDONED)
    [end] = await told(desk, refused)
    assert getattr(end.data, "why", None) == "OUT_OF_STOCK"


async def known(ops: Transactions, desk: Desk, id: SagaId) -> list[Any]:
    async with ops(desk.tenant_id) as scope:
        query = "SELECT state, step, why, sequence FROM ops.saga WHERE tenant_id = $1 AND id = $2"
        return [tuple(row) for row in await scope.connection.fetch(query, desk.tenant_id, id)]


async def test_the_desk_knows_the_newest_in_whatever_order_it_hears(desk: Desk, ops: Transactions) -> None:
    id = await desk.bring_to(State.PARKED)
    assert (await desk.act("cancel", id)).status_code == 200
    first, *_, last = await told(desk, id)
    hears = Batches(ops, [SAGAS_SEEN])
    await hears.commit([last])
    newest = await known(ops, desk, id)
    await hears.commit([first])
    # Delivered twice, and together.
    await hears.commit([first, last])
    assert await known(ops, desk, id) == newest
    assert newest[0][3] == last.sequence


async def test_the_desk_knows_nothing_of_a_saga_that_never_stopped(desk: Desk, ops: Transactions) -> None:
    assert await known(ops, desk, await desk.bring_to(State.RUNNING)) == []


async def test_an_end_is_kept_with_its_reason(desk: Desk, ops: Transactions) -> None:
    id = await desk.bring_to(State.ABANDONED)
    await Batches(ops, [SAGAS_SEEN]).commit(await told(desk, id))
    [(state, step, why, _)] = await known(ops, desk, id)
    assert (state, step, why) == ("ABANDONED", None, "OUT_OF_STOCK")
