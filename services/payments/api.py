"""Payments over HTTP: what is so with the payment of an order, and the provider's callbacks. No decisions.

A callback is only a hint: it makes us ask the provider, so it can neither be wrong nor come too often, only too late.
"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, Field, ValidationError

from contracts.values import OrderId, TenantId
from infra.clock import now
from infra.http import Problem, Timestamp
from infra.http.auth import Caller, caller_with
from infra.settings import Settings
from infra.transaction import Transactions
from services.payments import repository
from services.payments.callbacks import is_signed
from services.payments.model import Actual, PaymentRow, Wanted


class PaymentView(BaseModel):
    """`state` is what the provider has said; `wanted` is what it will be brought to."""

    order_id: UUID
    payment_id: UUID
    state: Actual
    wanted: Wanted
    amount_pence: int | None = Field(description="what it was asked to hold; none if it was given back before it was asked for")
    held_pence: int = Field(description="held on the card now")
    taken_pence: int = Field(description="taken from the card and not given back")
    refusal: str | None = Field(description="the provider's reason, if it said no")
    changed_at: Timestamp


class Told(BaseModel):
    """Whose payment a callback is about: what the provider was given with it."""

    tenant_id: UUID
    order_id: UUID


class Callback(BaseModel):
    """As much of a callback as we read; what has come of the payment we ask the provider."""

    metadata: Told


def router(transaction: Transactions, settings: Settings) -> APIRouter:
    """The routes of payments, on the given way to its database."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/payments/{order_id}")
    async def get_payment(order_id: UUID, caller: Annotated[Caller, Depends(caller_with("orders:read"))]) -> PaymentView:
        async with transaction(caller.tenant_id) as scope:
            payment = await repository.find(scope, OrderId(order_id))
        if payment is None:
            raise Problem(404, "Unknown payment", f"no payment was asked for order {order_id}")
        return _view(payment)

    @routes.post("/payments/callbacks", status_code=204, openapi_extra={"security": []})
    async def take_callback(request: Request, signature: Annotated[str, Header()] = "") -> None:
        """For the payment provider: something has come of a payment."""
        body = await request.body()
        if not is_signed(settings.payment_secret, body, signature, now()):
            raise Problem(401, "Not signed", "Sign time and body with the secret of OAAS_PAYMENT_SECRET in the header Signature")
        told = _read(body)
        async with transaction(TenantId(told.tenant_id)) as scope:
            payment = await repository.lock(scope, OrderId(told.order_id))
            if payment is not None and payment.actual is Actual.PENDING:
                payment.be_seen_to(scope.now)
                await repository.save(scope, [payment])

    return routes


def _read(body: bytes) -> Told:
    try:
        return Callback.model_validate_json(body).metadata
    except ValidationError as error:
        raise Problem(422, "Not valid", "The callback does not say in its metadata whose payment it is about") from error


def _view(payment: PaymentRow) -> PaymentView:
    amount = payment.amount_pence or 0
    return PaymentView(
        order_id=payment.order_id,
        payment_id=payment.payment_id,
        state=Actual(payment.actual),
        wanted=Wanted(payment.wanted),
        amount_pence=payment.amount_pence,
        held_pence=amount if payment.actual == Actual.AUTHORISED else 0,
        taken_pence=amount if payment.actual == Actual.CAPTURED else 0,
        refusal=payment.refusal,
        changed_at=payment.changed_at,
    )
