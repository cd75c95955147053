"""Operators say which letters they mean: each filter alone and together, wrong ones named, pages that miss nothing."""

from datetime import timedelta
from uuid import uuid4

import pytest

from contracts.payments import AuthorisePayment
from contracts.values import OrderId, TenantId
from infra.clock import now
from tests.integration.letters import QUEUE, LetterDesk, dying, keep
from tests.integration.messaging import envelope, reserve


async def test_letters_are_found_by_each_filter_alone_and_together(letters_desk: LetterDesk) -> None:
    tenant = TenantId(uuid4())
    ask, paid = reserve(tenant), envelope(tenant, AuthorisePayment(order_id=OrderId(uuid4()), amount=5, token="tok_a"))
    native = {
        "x-service": None,
        "x-letter": None,
        "x-exception-type": None,
        "x-death": [{"queue": "payments.commands.0", "reason": "rejected", "count": 1}],
    }
    [old] = await keep(letters_desk, dying(ask, KeyError("shelf"), attempt=5), minutes_ago=60)
    [new] = await keep(letters_desk, dying(paid, more=native), queue="payments.commands.0")
    [settled] = await keep(letters_desk, dying(reserve(tenant)))
    async with letters_desk.api.transaction(tenant) as scope:
        await scope.connection.execute("UPDATE ops.letter SET state = 'SETTLED' WHERE tenant_id = $1 AND id = $2", tenant, settled)
    shown = (await letters_desk.get(f"/{old}")).json()
    half = (now() - timedelta(minutes=30)).isoformat()
    for filters, expected in (
        ({}, [new, old]),
        ({"queue": QUEUE}, [old]),
        ({"service": "inventory"}, [old]),
        ({"service": "payments"}, [new]),
        ({"type": "payments.AuthorisePayment.v1"}, [new]),
        ({"saga": str(ask.sagaid)}, [old]),
        ({"message": str(paid.id)}, [new]),
        ({"fingerprint": shown["fingerprint"]}, [old]),
        ({"state": "SETTLED"}, [settled]),
        ({"state": "ARCHIVED"}, []),
        ({"since": half}, [new]),
        ({"until": half}, [old]),
        ({"since": half, "until": now().isoformat()}, [new]),
        ({"readable": True}, [new, old]),
        ({"readable": False}, []),
        ({"attempts_min": 5}, [old]),
        ({"attempts_min": 6}, []),
        ({"native": True}, [new]),
        ({"native": False}, [old]),
        ({"native": False, "type": "payments.AuthorisePayment.v1"}, []),
    ):
        assert await letters_desk.ids(tenant=str(tenant), **filters) == [str(id) for id in expected], filters


@pytest.mark.parametrize("path", ["", "/groups"])
@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "LOST"}, "state"),
        ({"tenant": "x"}, "tenant"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-23T10:00:00"}, "since"),
        ({"attempts_min": "0"}, "attempts_min"),
        ({"queue": "nonsense"}, "queue"),
        ({"service": "nonsense"}, "service"),
        ({"type": "ReserveStock"}, "type"),
        ({"since": "2026-11-23T10:00:00Z", "until": "2026-11-23T10:00:00Z"}, "until"),
        ({"queue": ""}, "queue"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_filter_is_named(letters_desk: LetterDesk, path: str, params: dict[str, str], field: str) -> None:
    refused = await letters_desk.get(path, **params)
    assert (refused.status_code, [error["field"] for error in refused.json()["errors"]]) == (422, [field])


async def test_names_that_this_release_has_not_are_found_as_long_as_a_letter_has_them(letters_desk: LetterDesk) -> None:
    mine, theirs = TenantId(uuid4()), TenantId(uuid4())
    gone = {"queue": f"q{uuid4().hex}", "service": f"s{uuid4().hex}", "type": f"t{uuid4().hex}"}
    [id] = await keep(letters_desk, dying(reserve(mine)))
    async with letters_desk.api.transaction(mine) as scope:
        columns = ", ".join(f"{name} = '{value}'" for name, value in gone.items())
        await scope.connection.execute(f"UPDATE ops.letter SET {columns}, state = 'ARCHIVED' WHERE tenant_id = $1 AND id = $2", mine, id)
    for name, value in gone.items():
        assert await letters_desk.ids(**{name: value}) == []
        assert await letters_desk.ids(mine, **{name: value, "state": "ARCHIVED"}) == [str(id)]
        # Whether others have letters of it is none of theirs.
        assert (await letters_desk.get("", theirs, **{name: value})).status_code == 422


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"type": "reserveStock"}, "did you mean inventory.ReserveStock.v1?"),
        ({"queue": "inventory.commands.0.dead"}, "did you mean inventory.commands.0?"),
        ({"service": "nonsense"}, "there are tenants, inventory, orders, payments, sagas, ops"),
    ],
)
async def test_a_mistyped_name_says_which_may_be_meant(letters_desk: LetterDesk, params: dict[str, str], told: str) -> None:
    refused = await letters_desk.get("", **params)
    assert (refused.status_code, refused.json()["errors"][0]["message"].endswith(told)) == (422, True), refused.text


@pytest.mark.parametrize("cursor", ["x", "", "AAAA", "A" * 31 + "="])
async def test_a_cursor_that_was_not_given_out_is_refused(letters_desk: LetterDesk, cursor: str) -> None:
    assert (await letters_desk.get(cursor=cursor)).status_code == 400


async def test_pages_neither_repeat_nor_leave_out_what_was_there_while_letters_arrive(letters_desk: LetterDesk) -> None:
    tenant = TenantId(uuid4())
    # All at the same instant.
    there = {str(id) for id in await keep(letters_desk, *(dying(reserve(tenant)) for _ in range(7)), minutes_ago=1)}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await letters_desk.get(tenant=str(tenant), limit=2, **cursor)).json()
        seen += [letter["id"] for letter in page["letters"]]
        await keep(letters_desk, dying(reserve(tenant)))
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert sorted(seen) == sorted(there)
