"""CANCEL_ORDER as dialogues: everything is given back at once, then the order is closed; there is only forward."""

from uuid import UUID

import pytest

from contracts.inventory import ReleaseStock, StockReleased
from contracts.messages import StepFaulted
from contracts.orders import MarkOrderCancelled, OrderCancelRequested, OrderMarkedCancelled
from contracts.payments import PaymentReturned, ReturnPayment
from contracts.tenants import OrderRefunded, QuotaReleased, RefundOrder, ReleaseQuota
from contracts.values import OrderId
from sagas.cancel_order import CANCEL_ORDER
from sagas.engine import verbs
from sagas.engine.instance import State
from sagas.engine.verify import verify
from tests.kit.dialogue import NOON, SILENCE, Line, play

ON_ACCOUNT = OrderCancelRequested(order_id=OrderId(UUID(int=3)), reason="changed my mind", paid=False)
PAID = ON_ACCOUNT.model_copy(update={"paid": True})
GIVEN_BACK: list[Line] = [(ReleaseStock, StockReleased()), (ReleaseQuota, QuotaReleased()), (RefundOrder, OrderRefunded())]
MARKED: list[Line] = [(MarkOrderCancelled, OrderMarkedCancelled())]


def test_cancel_order_is_sound() -> None:
    verify(CANCEL_ORDER)


def test_stock_and_quota_are_released_and_the_charge_is_refunded_before_the_order_is_closed() -> None:
    assert play(CANCEL_ORDER, ON_ACCOUNT, [*GIVEN_BACK, *MARKED]).state is State.COMPLETED


def test_a_card_gets_its_money_back_too() -> None:
    assert play(CANCEL_ORDER, PAID, [*GIVEN_BACK, (ReturnPayment, PaymentReturned()), *MARKED]).state is State.COMPLETED


def test_silence_is_asked_again_until_it_is_answered() -> None:
    lines: list[Line] = [
        (ReleaseStock, StockReleased()),
        (ReleaseQuota, SILENCE),
        (RefundOrder, OrderRefunded()),
        (ReleaseQuota, SILENCE),
        (ReleaseQuota, QuotaReleased()),
        *MARKED,
    ]
    assert play(CANCEL_ORDER, ON_ACCOUNT, lines).state is State.COMPLETED


def test_a_fault_parks_it_and_a_retry_goes_on() -> None:
    parked = play(CANCEL_ORDER, ON_ACCOUNT, [*GIVEN_BACK[:2], (RefundOrder, StepFaulted(error="bug", fingerprint="f"))])
    assert parked.state is State.PARKED
    again = verbs.retry(CANCEL_ORDER, parked, NOON, "ada", "mended")
    assert ([type(ask.command) for ask in again.asks], again.instance.state) == ([RefundOrder], State.COMPLETING)


def test_it_cannot_be_cancelled_itself() -> None:
    under_way = play(CANCEL_ORDER, ON_ACCOUNT, [(ReleaseStock, SILENCE), (ReleaseQuota, SILENCE), (RefundOrder, SILENCE)])
    with pytest.raises(verbs.IllegalVerb, match="past the point of no return: release-stock has been asked"):
        verbs.cancel(CANCEL_ORDER, under_way, NOON, "ada", "why not")
