"""Payments over HTTP: what is so with the payment of an order. No decisions."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from contracts.values import OrderId
from infra.auth import Caller, caller_with
from infra.http import Problem, Timestamp
from infra.settings import Settings
from infra.transaction import Transactions
from services.payments import repository
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


def router(transaction: Transactions, _settings: Settings) -> APIRouter:
    """The routes of payments, on the given way to its database."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/payments/{order_id}")
    async def get_payment(order_id: UUID, caller: Annotated[Caller, Depends(caller_with("orders:read"))]) -> PaymentView:
        async with transaction(caller.tenant_id) as scope:
            payment = await repository.find(scope, OrderId(order_id))
        if payment is None:
            raise Problem(404, "Unknown payment", f"no payment was asked for order {order_id}")
        return _view(payment)

    return routes


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
