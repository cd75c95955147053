"""Payments over HTTP: what a client sees, and the provider's callbacks, which only make us ask."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from contracts.payments import AuthorisePayment, ReturnPayment
from contracts.values import OrderId, TenantId
from infra.clock import now
from infra.settings import Settings
from services.payments import repository
from services.payments.callbacks import sign
from services.payments.main import SERVICE
from services.payments.model import Actual, Payments
from services.payments.provider import Done, Outcome, Pending
from services.payments.repository import PaymentRepository
from services.payments.use_cases import authorise_payment
from tests.integration.paying import AMOUNT, a_command
from tests.integration.serving import Api, serving

SECRET = SecretStr("the acquirer's")
LEASE = timedelta(seconds=20)
HOUR = timedelta(hours=1)


@pytest.fixture
async def api(settings: Settings, tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(SERVICE, settings.model_copy(update={"payment_secret": SECRET}), tmp_path) as served:
        yield served


async def a_payment(api: Api, tenant_id: TenantId, outcome: Outcome) -> OrderId:
    """An order's payment of which this has come; if it is pending, it is asked about in an hour."""
    command = AuthorisePayment(order_id=OrderId(uuid4()), amount=AMOUNT, token="tok_ok")
    async with api.transaction(tenant_id) as scope:
        held: Payments = await PaymentRepository().load(scope, [a_command(tenant_id, command)])
        authorise_payment(command, held)
        payment = held.of[command.order_id]
        call = payment.intend(scope.now, LEASE)
        assert call is not None
        payment.learn(call, outcome, scope.now, HOUR)
        await repository.save(scope, [payment])
    return command.order_id


async def due_in(api: Api, tenant_id: TenantId, order_id: OrderId) -> timedelta | None:
    async with api.transaction(tenant_id) as scope:
        payment = await repository.lock(scope, order_id)
        assert payment is not None
        return payment.due_at - scope.now if payment.due_at else None


async def call_back(api: Api, told: Any, signature: str | None = None) -> int:
    body = json.dumps(told).encode()
    headers = {"Signature": sign(SECRET, body, now()) if signature is None else signature}
    return (await api.client.post("/v1/payments/callbacks", content=body, headers=headers)).status_code


def about(tenant_id: TenantId, order_id: OrderId) -> dict[str, Any]:
    return {"metadata": {"tenant_id": str(tenant_id), "order_id": str(order_id)}, "state": "AUTHORISED"}


async def test_a_payment_is_shown_with_its_amounts(api: Api) -> None:
    tenant_id = TenantId(uuid4())
    order_id = await a_payment(api, tenant_id, Done("acq_1"))
    answer = await api.call("GET", f"/v1/payments/{order_id}", api.token("orders:read", tenant_id=tenant_id))
    told = answer.json()
    assert answer.status_code == 200
    assert (told["state"], told["wanted"], told["amount_pence"], told["held_pence"], told["taken_pence"]) == (
        ("AUTHORISED", "AUTHORISED", AMOUNT, AMOUNT, 0)
    )
    assert "token" not in told


async def test_another_tenants_payment_is_unknown(api: Api) -> None:
    order_id = await a_payment(api, TenantId(uuid4()), Done("acq_1"))
    answer = await api.call("GET", f"/v1/payments/{order_id}", api.token("orders:read", tenant_id=uuid4()))
    assert answer.status_code == 404


async def test_reading_a_payment_needs_its_scope(api: Api) -> None:
    answer = await api.call("GET", f"/v1/payments/{uuid4()}", api.token("catalog:read", tenant_id=uuid4()))
    assert answer.status_code == 403


async def test_a_callback_makes_us_ask_at_once_and_changes_nothing_else(api: Api) -> None:
    tenant_id = TenantId(uuid4())
    order_id = await a_payment(api, tenant_id, Pending("acq_1"))
    for _ in range(3):
        assert await call_back(api, about(tenant_id, order_id)) == 204
    due = await due_in(api, tenant_id, order_id)
    assert due is not None
    assert due <= timedelta()
    async with api.transaction(tenant_id) as scope:
        payment = await repository.lock(scope, order_id)
    assert payment is not None
    assert payment.actual is Actual.PENDING, "what the callback says is not believed"


async def test_a_callback_about_a_payment_that_is_decided_changes_nothing(api: Api) -> None:
    tenant_id = TenantId(uuid4())
    order_id = await a_payment(api, tenant_id, Done("acq_1"))
    assert await call_back(api, about(tenant_id, order_id)) == 204
    assert await due_in(api, tenant_id, order_id) is None


async def test_a_callback_about_a_payment_that_nobody_knows_is_taken_and_forgotten(api: Api) -> None:
    assert await call_back(api, about(TenantId(uuid4()), OrderId(uuid4()))) == 204


async def test_a_callback_that_nobody_signed_or_long_ago_is_turned_away(api: Api) -> None:
    tenant_id = TenantId(uuid4())
    order_id = await a_payment(api, tenant_id, Pending("acq_1"))
    told = about(tenant_id, order_id)
    old = sign(SECRET, json.dumps(told).encode(), now() - timedelta(hours=1))
    for signature in ("", "t=1,v1=0", old, sign(SecretStr("x"), json.dumps(told).encode(), now())):
        assert await call_back(api, told, signature) == 401
    due = await due_in(api, tenant_id, order_id)
    assert due is not None
    assert due > timedelta(minutes=50)


@pytest.mark.parametrize("told", [{}, [], {"metadata": {"tenant_id": "x", "order_id": "y"}}])
async def test_a_signed_callback_that_is_about_no_payment_says_so(api: Api, told: Any) -> None:
    assert await call_back(api, told) == 422


async def test_what_was_given_back_before_it_was_asked_for_is_shown_as_that(api: Api) -> None:
    tenant_id, order_id = TenantId(uuid4()), OrderId(uuid4())
    async with api.transaction(tenant_id) as scope:
        held = await PaymentRepository().load(scope, [a_command(tenant_id, ReturnPayment(order_id=order_id))])
        held.of[order_id].want_returned()
        await PaymentRepository().save(scope, held)
    told = (await api.call("GET", f"/v1/payments/{order_id}", api.token("orders:read", tenant_id=tenant_id))).json()
    assert (told["state"], told["wanted"], told["amount_pence"], told["held_pence"]) == ("NONE", "RETURNED", None, 0)
