"""A token with the scope ops and a tenant: for its operator there are no sagas but that tenant's, whichever route asks."""

from uuid import UUID, uuid4

import httpx
import pytest

from contracts.values import SagaId
from sagas.engine.instance import State
from sagas.engine.verbs import Verb
from tests.integration.desk import Desk

VERB = {"reason": "a test", "revision": 1}


async def asked(desk: Desk, tenant_id: UUID, method: str, path: str, body: object = None) -> httpx.Response:
    """What the operator of this tenant is answered."""
    return await desk.api.call(method, f"/v1/ops{path}", desk.api.token("ops", tenant_id=tenant_id), body)


async def ids_of(desk: Desk, saga: SagaId) -> list[str]:
    """Whatever leads to the saga: itself, its order, the event that started it."""
    started = await desk.administrator.fetchval("SELECT message_id FROM sagas.saga_event WHERE saga_id = $1 AND kind = 'STARTED'", saga)
    return [str(saga), (await desk.show(saga))["order"], str(started)]


async def test_a_tenants_operator_sees_its_own_sagas_and_moves_them(desk: Desk) -> None:
    saga = await desk.bring_to(State.PARKED)
    assert [one["id"] for one in (await asked(desk, desk.tenant_id, "GET", "/sagas")).json()["items"]] == [str(saga)]
    assert (await asked(desk, desk.tenant_id, "GET", f"/sagas/{saga}")).status_code == 200
    for id in await ids_of(desk, saga):
        assert (await asked(desk, desk.tenant_id, "GET", f"/why/{id}")).status_code == 200
    revision = (await desk.show(saga))["revision"]
    paused = await asked(desk, desk.tenant_id, "POST", f"/sagas/{saga}/pause", {**VERB, "revision": revision})
    assert (paused.status_code, paused.json()["state"]) == (200, "PAUSED")


async def test_another_tenants_saga_is_answered_as_one_that_is_not_there(desk: Desk) -> None:
    saga, stranger, nothing = await desk.bring_to(State.PARKED), uuid4(), uuid4()
    assert (await asked(desk, stranger, "GET", "/sagas")).json()["items"] == []
    for id in await ids_of(desk, saga):
        theirs, none = await asked(desk, stranger, "GET", f"/why/{id}"), await asked(desk, stranger, "GET", f"/why/{nothing}")
        assert (theirs.status_code, theirs.json()["detail"].replace(id, "")) == (404, none.json()["detail"].replace(str(nothing), ""))
    for method, path in (("GET", ""), *(("POST", f"/{verb}") for verb in Verb)):
        theirs = await asked(desk, stranger, method, f"/sagas/{saga}{path}", VERB if path else None)
        none = await asked(desk, stranger, method, f"/sagas/{nothing}{path}", VERB if path else None)
        assert theirs.status_code == none.status_code == 404
        assert theirs.json()["detail"].replace(str(saga), "") == none.json()["detail"].replace(str(nothing), "")
    assert (await desk.show(saga))["state"] == "PARKED"
    assert await desk.audit(saga) == []


@pytest.mark.parametrize("verb", list(Verb))
async def test_a_verb_on_many_finds_none_of_another_tenant(desk: Desk, verb: Verb) -> None:
    saga, stranger = await desk.bring_to(State.PARKED), uuid4()
    counted = await asked(desk, stranger, "POST", f"/sagas/{verb}", {"filter": {"state": "PARKED"}, "reason": "a test"})
    assert (counted.status_code, counted.json()["total"]) == (200, 0)
    body = {"filter": {"state": "PARKED"}, "reason": "a test", "dry_run": False, "as_of": counted.json()["as_of"]}
    acted = await asked(desk, stranger, "POST", f"/sagas/{verb}", body)
    assert (acted.status_code, acted.json()["done"]) == (200, 0)
    assert (await desk.show(saga))["state"] == "PARKED"


async def test_who_names_another_tenant_is_told_that_its_token_is_a_tenants(desk: Desk) -> None:
    stranger, theirs = uuid4(), str(desk.tenant_id)
    listed = await asked(desk, stranger, "GET", f"/sagas?tenant={theirs}")
    acted = await asked(desk, stranger, "POST", "/sagas/retry", {"filter": {"tenant": theirs}, "reason": "a test"})
    assert (listed.status_code, listed.json()["title"]) == (acted.status_code, acted.json()["title"]) == (403, "Another tenant")
