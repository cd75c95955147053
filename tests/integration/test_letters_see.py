"""Operators see what died: every filter, causes instead of thousands of letters, one letter as a whole; each its own tenant's only."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from contracts.messages import Envelope
from contracts.orders import OrderPlaced
from contracts.payments import AuthorisePayment
from contracts.values import OrderId, OrderLine, SagaId, ShopId, TenantId
from infra.clock import now
from infra.settings import Settings
from services.ops.desk.model import letter_id
from tests.integration.letters import QUEUE, Dying, LetterDesk, Poison, dying, keep, raised_elsewhere
from tests.integration.messaging import envelope, reserve


async def test_causes_are_grouped_with_what_an_operator_asks_first(letters_desk: LetterDesk) -> None:
    one, other = sorted([TenantId(uuid4()), TenantId(uuid4())])
    mine = f"{uuid4().hex[:16]}"
    cause = {"x-fingerprint": mine}
    await keep(letters_desk, *(dying(reserve(one), Poison("old"), more=cause) for _ in range(3)), minutes_ago=60)
    [event] = await keep(letters_desk, dying(reserve(other), Poison("new"), more={**cause, "x-build": "b2"}), queue="orders.commands.0")
    found = (await letters_desk.get("/groups", fingerprint=mine)).json()
    [group] = found["groups"]
    assert (found["total"], found["causes"]) == (4, 1)
    assert (group["count"], group["tenants"], group["error"], group["sample"]) == (4, 2, "new", str(event))
    assert group["queues"] == {QUEUE: 3, "orders.commands.0": 1}
    assert group["types"] == {"inventory.ReserveStock.v1": 4}
    assert sorted(group["builds"].values()) == [1, 3]
    assert group["exception_type"] == "Poison"
    assert group["first_seen"] < group["last_seen"]


async def test_the_largest_group_comes_first(letters_desk: LetterDesk) -> None:
    tenant = TenantId(uuid4())
    await keep(letters_desk, *(dying(reserve(tenant), raised_elsewhere("b")) for _ in range(2)))
    await keep(letters_desk, *(dying(reserve(tenant), KeyError("a")) for _ in range(5)))
    found = (await letters_desk.get("/groups", tenant=str(tenant))).json()
    assert [(group["exception_type"], group["count"]) for group in found["groups"]] == [("KeyError", 5), ("Poison", 2)]
    assert (found["total"], found["causes"]) == (7, 2)


async def test_a_letter_is_shown_as_a_whole(letters_desk: LetterDesk) -> None:
    tenant = TenantId(uuid4())
    trace = "0af7651916cd43dd8448eb211c80319c"
    ask = reserve(tenant).model_copy(update={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    [id] = await keep(letters_desk, dying(ask, KeyError("shelf"), attempt=2))
    async with letters_desk.api.transaction(tenant) as scope:
        await scope.connection.execute(
            "INSERT INTO ops.saga (tenant_id, id, name, version, subject, state, step, sequence, at)"
            " VALUES ($1, $2, $3, 2, $4, $5, $6, 7, $7)",
            *(tenant, ask.sagaid, "place-order", "x", "PARKED", "reserve-stock", scope.now),
        )
    shown = (await letters_desk.get(f"/{id}")).json()
    assert shown["body"] == json.loads(ask.model_dump_json(exclude_none=True))
    assert (shown["error"], shown["trace_id"], shown["original_body"], shown["revisions"]) == ("'shelf'", trace, None, [])
    assert "KeyError" in shown["stack"]
    assert shown["headers"]["x-attempt"] == 2
    assert [death["attempts"] for death in shown["deaths_history"]] == [2]
    assert (shown["saga"]["state"], shown["saga"]["step"], shown["saga"]["id"]) == ("PARKED", "reserve-stock", str(ask.sagaid))
    assert shown["flags"] == []


async def test_what_to_know_before_a_replay_is_flagged(letters_desk: LetterDesk, settings: Settings) -> None:
    tenant = TenantId(uuid4())
    ask = reserve(tenant)
    [id] = await keep(letters_desk, dying(ask), minutes_ago=settings.dead_letter_keep_days * 24 * 60 + 1)
    async with letters_desk.api.transaction(tenant) as scope:
        await scope.connection.execute("UPDATE ops.letter SET replays_in_vain = 3 WHERE tenant_id = $1", tenant)
        await scope.connection.execute(
            "INSERT INTO ops.saga (tenant_id, id, name, version, subject, state, sequence, at) VALUES ($1, $2, $3, 2, $4, $5, 7, $6)",
            *(tenant, ask.sagaid, "place-order", "x", "ABANDONED", scope.now),
        )
    flags = (await letters_desk.get(f"/{id}")).json()["flags"]
    assert [flag.split(":")[0] for flag in flags] == ["its saga has ended (ABANDONED)", "held back", "too old to be replayed"]


async def test_a_cards_token_is_kept_and_never_shown(letters_desk: LetterDesk) -> None:
    tenant, secret = TenantId(uuid4()), "tok_secret"
    placed = OrderPlaced(
        order_id=OrderId(uuid4()),
        shop_id=ShopId(uuid4()),
        lines=(OrderLine(sku="A", quantity=1),),
        total=1,
        placed_at=now(),
        payment=secret,
    )
    command = envelope(tenant, AuthorisePayment(order_id=OrderId(uuid4()), amount=5, token=secret))
    torn = b'[{"data": {"token": "tok_secret", "token": \'tok_secret\', "payment":tok_secret'
    nobody = {"x-tenant": None, "x-message-type": None}
    ids = await keep(
        letters_desk,
        dying(command),
        dying(envelope(tenant, placed)),
        Dying(torn, {**dying(command).headers, **nobody}, "m1"),
        Dying(torn + b"\xff\x00", {**dying(command).headers, **nobody}, "m2"),
        Dying(b"[" + torn[1:].replace(b"'", b'"').replace(b":tok_secret", b':"tok_secret"') + b"}}]", {}, "m3"),
    )
    stored = 0
    for id in ids:
        shown = (await letters_desk.get(f"/{id}")).text
        assert secret not in shown
        assert "(hidden)" in shown
        for owner in (tenant, TenantId(UUID(int=0))):
            async with letters_desk.api.transaction(owner) as scope:
                bodies = await scope.connection.fetch("SELECT body, form FROM ops.letter WHERE tenant_id = $1 AND id = $2", owner, id)
                stored += sum(secret in row["body"] or row["form"] == "BASE64" for row in bodies)
    assert stored == len(ids)


async def test_an_edited_letter_shows_both_payloads_and_its_revisions(letters_desk: LetterDesk) -> None:
    from services.ops.desk import letters

    tenant = TenantId(uuid4())
    ask = reserve(tenant)
    [id] = await keep(letters_desk, dying(ask))
    mended = ask.model_dump_json(exclude_none=True).replace('"quantity":1', '"quantity":2')
    diff: list[dict[str, Any]] = [
        {"path": "lines[0].quantity", "before": 1, "after": 2},
        {"path": "data.token", "before": "tok_a", "after": "tok_b"},
    ]
    async with letters_desk.api.transaction(tenant) as scope:
        letter = (await letters.lock(scope, [id]))[id]
        await letters.revise(scope, letter, mended, actor="ada", reason="typo", diff=json.dumps(diff))
    shown = (await letters_desk.get(f"/{id}")).json()
    assert shown["revision"] == 1
    assert shown["body"]["data"]["lines"][0]["quantity"] == 2
    assert shown["original_body"]["data"]["lines"][0]["quantity"] == 1
    [revision] = shown["revisions"]
    assert (revision["actor"], revision["reason"], revision["diff"][0]) == ("ada", "typo", diff[0])
    assert "tok_" not in json.dumps(shown)


async def test_a_tenants_operator_sees_nothing_of_others(letters_desk: LetterDesk) -> None:
    mine, theirs = TenantId(uuid4()), TenantId(uuid4())
    [own] = await keep(letters_desk, dying(reserve(mine)))
    [foreign] = await keep(letters_desk, dying(reserve(theirs)))
    [nobodys] = await keep(letters_desk, Dying(b"junk", {"x-letter": str(uuid4())}, "m"))
    assert await letters_desk.ids(mine) == [str(own)]
    assert await letters_desk.ids(mine, tenant=str(mine)) == [str(own)]
    assert (await letters_desk.get("/groups", mine)).json()["total"] == 1
    assert (await letters_desk.get(f"/{own}", mine)).status_code == 200
    for id in (foreign, nobodys, uuid4()):
        refused = await letters_desk.get(f"/{id}", mine)
        assert (refused.status_code, refused.json()["title"]) == (404, "Unknown letter")
        assert str(theirs) not in refused.text
    for path in ("", "/groups"):
        for other in (theirs, UUID(int=0)):
            assert (await letters_desk.get(path, mine, tenant=str(other))).status_code == 403
    everybody = [*await letters_desk.ids(limit=200)]
    assert {str(own), str(foreign)} <= set(everybody)


@pytest.mark.parametrize("scopes", [("orders:read",), ("tenants:admin",)])
async def test_nobody_but_an_operator_sees_letters(letters_desk: LetterDesk, scopes: tuple[str, ...]) -> None:
    for path in ("", "/groups", f"/{uuid4()}"):
        refused = await letters_desk.api.client.get(f"/v1/ops/dead-letters{path}", headers=letters_desk.api.token(*scopes))
        assert refused.status_code == 403
        assert (await letters_desk.api.client.get(f"/v1/ops/dead-letters{path}")).status_code == 401


async def test_a_word_that_is_no_id_is_told(letters_desk: LetterDesk) -> None:
    refused = await letters_desk.get("/goups")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "letter_id")


def test_a_letters_id_tells_nothing_of_its_message() -> None:
    ask: Envelope = reserve(TenantId(uuid4()))
    ids = {letter_id(ask.tenantid, queue, ask.id) for queue in (QUEUE, "orders.commands.0")}
    assert len(ids | {ask.id}) == 3
    assert SagaId(ask.id) not in ids
