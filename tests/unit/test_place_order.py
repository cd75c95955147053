"""PLACE_ORDER as dialogues: what is asked, what is answered, how it ends."""

from uuid import UUID

import pytest

from contracts.inventory import OutOfStock, ReleaseStock, ReserveStock, StockReleased, StockReserved
from contracts.messages import StepFaulted
from contracts.orders import (
    AcceptanceWithdrawn,
    ApproveOrder,
    OrderAccepted,
    OrderApproved,
    OrderCancelled,
    OrderDeclined,
    OrderPlaced,
    OrderRejected,
    RejectOrder,
    RequestAcceptance,
    WithdrawAcceptance,
)
from contracts.payments import (
    AuthorisePayment,
    CapturePayment,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentRefused,
    PaymentReturned,
    ReturnPayment,
)
from contracts.tenants import (
    ChargeOrder,
    OrderCharged,
    OrderRefunded,
    QuotaExceeded,
    QuotaReleased,
    QuotaReserved,
    RefundOrder,
    ReleaseQuota,
    ReserveQuota,
    TenantSuspended,
)
from contracts.values import OrderId, OrderLine, Rejection, ShopId, VatAmount, VatRate
from sagas.engine.instance import State
from sagas.engine.verify import verify
from sagas.place_order import PLACE_ORDER
from sagas.place_order_1 import PLACE_ORDER_1
from tests.kit.dialogue import NOON, SILENCE, DialogueBroken, Line, Silence, play

ORDER = OrderPlaced(
    order_id=OrderId(UUID(int=3)),
    shop_id=ShopId(UUID(int=4)),
    lines=(OrderLine(sku="APPLE", quantity=2),),
    total=250,
    placed_at=NOON,
)
STOCK_RESERVED = StockReserved(reservation_id=UUID(int=5))
FAULT = StepFaulted(error="ValueError: bug", fingerprint="f1")


def test_place_order_is_sound() -> None:
    verify(PLACE_ORDER)


def test_an_order_with_quota_and_stock_is_confirmed() -> None:
    lines: list[Line] = [(ReserveQuota, QuotaReserved()), (ReserveStock, STOCK_RESERVED), (ApproveOrder, OrderApproved())]
    done = play(PLACE_ORDER, ORDER, lines)
    assert (done.state, done.why, done.wake_at) == (State.COMPLETED, None, None)


def test_out_of_stock_releases_the_quota_and_rejects() -> None:
    lines: list[Line] = [
        (ReserveQuota, QuotaReserved()),
        (ReserveStock, OutOfStock()),
        (ReleaseQuota, QuotaReleased()),
        (RejectOrder, OrderRejected()),
    ]
    done = play(PLACE_ORDER, ORDER, lines)
    assert (done.state, done.why) == (State.ABANDONED, Rejection.OUT_OF_STOCK)


@pytest.mark.parametrize(
    ("refusal", "why"), [(QuotaExceeded(), Rejection.OVER_QUOTA), (TenantSuspended(), Rejection.TENANT_SUSPENDED)], ids=repr
)
def test_a_refused_quota_releases_the_stock_whose_answer_is_missing(refusal: QuotaExceeded | TenantSuspended, why: Rejection) -> None:
    # The stock was asked at once with the quota; its answer comes too late to count.
    lines: list[Line] = [
        (ReserveQuota, refusal),
        (ReserveStock, STOCK_RESERVED),
        (ReleaseStock, StockReleased()),
        (RejectOrder, OrderRejected()),
    ]
    assert play(PLACE_ORDER, ORDER, lines).why is why


def test_undoes_even_the_step_that_never_answered() -> None:
    lines: list[Line] = [
        (ReserveQuota, QuotaReserved()),
        (ReserveStock, SILENCE),
        (ReleaseStock, StockReleased()),
        (ReleaseQuota, QuotaReleased()),
        (RejectOrder, OrderRejected()),
    ]
    assert play(PLACE_ORDER, ORDER, lines).why is Rejection.NO_ANSWER


def test_an_order_cancelled_before_its_approval_is_undone_and_says_cancelled() -> None:
    lines: list[Line] = [
        (ReserveQuota, QuotaReserved()),
        (ReserveStock, STOCK_RESERVED),
        (ApproveOrder, OrderCancelled()),
        (ReleaseStock, StockReleased()),
        (ReleaseQuota, QuotaReleased()),
        (RejectOrder, OrderRejected()),
    ]
    assert play(PLACE_ORDER, ORDER, lines).why is Rejection.CANCELLED


def test_an_unanswered_approval_is_asked_again_until_it_is_answered() -> None:
    lines: list[Line] = [
        (ReserveQuota, QuotaReserved()),
        (ReserveStock, STOCK_RESERVED),
        (ApproveOrder, SILENCE),
        (ApproveOrder, SILENCE),
        (ApproveOrder, OrderApproved()),
    ]
    assert play(PLACE_ORDER, ORDER, lines).state is State.COMPLETED


def test_a_dead_participant_gets_its_undo_again_when_it_returns() -> None:
    lines: list[Line] = [
        (ReserveQuota, QuotaReserved()),
        (ReserveStock, SILENCE),
        (ReleaseStock, SILENCE),
        (ReleaseQuota, QuotaReleased()),
        (ReleaseStock, SILENCE),
        (ReleaseStock, StockReleased()),
        (RejectOrder, OrderRejected()),
    ]
    assert play(PLACE_ORDER, ORDER, lines).why is Rejection.NO_ANSWER


def test_a_fault_parks_the_order_and_rejects_nothing() -> None:
    done = play(PLACE_ORDER, ORDER, [(ReserveQuota, QuotaReserved()), (ReserveStock, FAULT)])
    assert (done.state, done.why) == (State.PARKED, None)


def test_a_fault_that_nobody_mends_is_undone_in_the_end() -> None:
    lines: list[Line] = [
        (ReserveQuota, QuotaReserved()),
        (ReserveStock, FAULT),
        (ReleaseStock, StockReleased()),
        (ReleaseQuota, QuotaReleased()),
        (RejectOrder, OrderRejected()),
    ]
    assert play(PLACE_ORDER, ORDER, lines).why is Rejection.FAULT


def test_the_commands_carry_what_the_order_says() -> None:
    quota = PLACE_ORDER.groups[0][0].ask(ORDER, play(PLACE_ORDER, ORDER, [(ReserveQuota, SILENCE), (ReserveStock, SILENCE)]).so_far)
    assert quota == ReserveQuota(order_id=ORDER.order_id, amount=250, placed_at=NOON)


def test_a_broken_dialogue_tells_what_was_asked_instead() -> None:
    with pytest.raises(DialogueBroken, match=r"ApproveOrder was asked, the dialogue expects ReleaseStock") as broken:
        play(PLACE_ORDER, ORDER, [(ReserveQuota, QuotaReserved()), (ReserveStock, STOCK_RESERVED), (ReleaseStock, StockReleased())])
    assert "ReserveQuota -> QuotaReserved()" in str(broken.value)


def test_a_dialogue_that_ends_too_early_says_so() -> None:
    with pytest.raises(DialogueBroken, match="ReserveStock was asked, the dialogue has ended"):
        play(PLACE_ORDER, ORDER, [(ReserveQuota, QuotaReserved())])


def test_a_dialogue_that_goes_on_after_the_end_says_so() -> None:
    lines: list[Line] = [(ReserveQuota, QuotaReserved()), (ReserveStock, STOCK_RESERVED), (ApproveOrder, OrderApproved())]
    with pytest.raises(DialogueBroken, match="COMPLETED: nothing is asked, the dialogue expects RejectOrder"):
        play(PLACE_ORDER, ORDER, [*lines, (RejectOrder, OrderRejected())])


PAID = ORDER.model_copy(update={"payment": "tok_ok", "vat": (VatAmount(rate=VatRate.ZERO, total=250, vat=0),)})
BY_HAND = PAID.model_copy(update={"accept_by_hand": True})
HELD: list[Line] = [(ReserveQuota, QuotaReserved()), (ChargeOrder, OrderCharged()), (ReserveStock, STOCK_RESERVED)]
GIVEN_BACK: list[Line] = [
    (ReleaseStock, StockReleased()),
    (RefundOrder, OrderRefunded()),
    (ReleaseQuota, QuotaReleased()),
    (RejectOrder, OrderRejected()),
]
AUTHORISED = PaymentAuthorised(payment_id=UUID(int=6))


def test_a_card_is_authorised_before_the_order_is_confirmed_and_captured_after() -> None:
    paying: list[Line] = [(AuthorisePayment, AUTHORISED), (ApproveOrder, OrderApproved())]
    assert play(PLACE_ORDER, PAID, [*HELD, *paying, (CapturePayment, SILENCE)]).state is State.COMPLETING
    assert play(PLACE_ORDER, PAID, [*HELD, *paying, (CapturePayment, PaymentCaptured())]).state is State.COMPLETED


def test_a_refused_card_gives_everything_back() -> None:
    done = play(PLACE_ORDER, PAID, [*HELD, (AuthorisePayment, PaymentRefused(code="insufficient_funds")), *GIVEN_BACK])
    assert done.why is Rejection.PAYMENT_REFUSED


def test_a_provider_that_does_not_answer_is_asked_to_give_the_money_back() -> None:
    lines: list[Line] = [*HELD, (AuthorisePayment, SILENCE), (ReturnPayment, PaymentReturned()), *GIVEN_BACK]
    assert play(PLACE_ORDER, PAID, lines).why is Rejection.NO_ANSWER


def test_a_capture_is_asked_again_until_it_is_answered_and_never_undone() -> None:
    lines: list[Line] = [
        *HELD,
        (AuthorisePayment, AUTHORISED),
        (ApproveOrder, OrderApproved()),
        (CapturePayment, SILENCE),
        (CapturePayment, SILENCE),
        (CapturePayment, PaymentCaptured()),
    ]
    assert play(PLACE_ORDER, PAID, lines).state is State.COMPLETED


@pytest.mark.parametrize("shop", [OrderDeclined(), SILENCE], ids=repr)
def test_an_order_that_the_shop_declines_or_forgets_is_not_accepted(shop: OrderDeclined | Silence) -> None:
    withdrawn: list[Line] = [(WithdrawAcceptance, AcceptanceWithdrawn())] if shop is SILENCE else []
    lines: list[Line] = [
        *HELD,
        (AuthorisePayment, AUTHORISED),
        (RequestAcceptance, shop),
        *withdrawn,
        (ReturnPayment, PaymentReturned()),
        *GIVEN_BACK,
    ]
    assert play(PLACE_ORDER, BY_HAND, lines).why is Rejection.NOT_ACCEPTED


def test_an_accepted_order_is_confirmed() -> None:
    lines: list[Line] = [
        *HELD,
        (AuthorisePayment, AUTHORISED),
        (RequestAcceptance, OrderAccepted()),
        (ApproveOrder, OrderApproved()),
        (CapturePayment, PaymentCaptured()),
    ]
    assert play(PLACE_ORDER, BY_HAND, lines).state is State.COMPLETED


def test_version_1_goes_on_as_it_began() -> None:
    lines: list[Line] = [(ReserveQuota, QuotaReserved()), (ReserveStock, STOCK_RESERVED), (ApproveOrder, OrderApproved())]
    assert play(PLACE_ORDER_1, PAID, lines).state is State.COMPLETED
