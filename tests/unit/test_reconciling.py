"""The rules by which the services' books are compared, each in the smallest story; and when they are compared."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from contracts.values import OrderStatus, TenantId
from infra.reconcile import Imbalance, Line
from infra.settings import Settings
from services.ops.books.consequences import Consequence
from services.ops.books.kinds import CAN_BE_RIGHT, DIFFERING, MENDS, Kind
from services.ops.books.reconciling import Finding, of_order, of_totals
from services.ops.books.rounds import Rounds

TENANT: Final = TenantId(UUID("0b6f8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10"))
ORDER: Final = UUID("3f2b8c1e-6f0a-4e0e-9d5a-2f1c7b9e4d10")
NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONG: Final = timedelta(days=30)


def line(book: str, state: str, **more: Any) -> Line:
    return Line(subject=ORDER, book=book, state=state, changed_at=more.pop("changed_at", NOW - timedelta(hours=1)), **more)


def order(status: OrderStatus, **more: Any) -> Line:
    return line("order", status, **{"pence": 100, "goods": "1 APPLE", **more})


PLACED: Final = line("place-order", "COMPLETED", was="2")
ABANDONED: Final = line("place-order", "ABANDONED", was="2")
HELD: Final = (line("stock", "HELD", goods="1 APPLE"), line("quota", "HELD", pence=100), line("ledger", "CHARGED", pence=100))
USED: Final = (line("stock", "CONSUMED", goods="1 APPLE"), line("quota", "SETTLED", pence=100), line("ledger", "CHARGED", pence=100))
FREE: Final = (line("stock", "WITHDRAWN"), line("quota", "WITHDRAWN"), line("ledger", "REFUNDED"))


def kinds(lines: Sequence[Line]) -> set[Kind]:
    return {one.kind for one in of_order(TENANT, lines, NOW, LONG)}


HEALTHY: Final[dict[str, tuple[Line, ...]]] = {
    "under way": (order(OrderStatus.PENDING), line("place-order", "RUNNING", was="2"), *HELD),
    "parked with everything": (order(OrderStatus.PENDING), line("place-order", "PARKED", was="2"), *HELD),
    "confirmed": (order(OrderStatus.CONFIRMED), PLACED, *HELD),
    "confirmed by the first version": (
        order(OrderStatus.CONFIRMED),
        line("place-order", "COMPLETED", was="1"),
        *HELD[:2],
        line("ledger", "NEW"),
    ),
    "being captured": (order(OrderStatus.CONFIRMED, by_card=True), line("place-order", "COMPLETING", was="2"), *HELD),
    "paid": (order(OrderStatus.READY, by_card=True), PLACED, *HELD, line("payment", "CAPTURED", was="CAPTURED", pence=100)),
    "completed": (order(OrderStatus.COMPLETED), PLACED, *USED),
    "rejected": (order(OrderStatus.REJECTED), ABANDONED, *FREE),
    "refused at once": (order(OrderStatus.REJECTED), ABANDONED, line("stock", "NEW"), *FREE[1:]),
    "refused by the card": (order(OrderStatus.REJECTED, by_card=True), ABANDONED, *FREE, line("payment", "REFUSED", was="AUTHORISED")),
    "cancelled": (order(OrderStatus.CANCELLED, was="CONFIRMED"), PLACED, line("cancel-order", "COMPLETED", was="1"), *FREE),
    "cancelled while it was placed": (order(OrderStatus.CANCELLED, was="PENDING"), ABANDONED, *FREE),
    "being cancelled": (order(OrderStatus.CANCELLING, was="CONFIRMED"), PLACED, line("cancel-order", "RUNNING", was="1"), *HELD),
    "a payment on its way back": (
        *(order(OrderStatus.CANCELLED, was="CONFIRMED", by_card=True), PLACED, line("cancel-order", "COMPLETED", was="1"), *FREE),
        line("payment", "CAPTURED", was="RETURNED", pence=100),
    ),
    "a tombstone of what never was": FREE,
    "an ended saga of an order that is gone": (ABANDONED, *FREE),
}


@pytest.mark.parametrize("lines", HEALTHY.values(), ids=HEALTHY)
def test_nothing_is_wrong_with_a_healthy_order(lines: Sequence[Line]) -> None:
    assert of_order(TENANT, lines, NOW, LONG) == []


WRONG: Final[dict[str, tuple[tuple[Line, ...], set[Kind]]]] = {
    "no saga": ((order(OrderStatus.PENDING),), {Kind.ORDER_WITHOUT_SAGA}),
    "no saga, and cancelled": ((order(OrderStatus.CANCELLING, was="PENDING"),), {Kind.ORDER_WITHOUT_SAGA}),
    "nobody cancels": ((order(OrderStatus.CANCELLING, was="CONFIRMED"), PLACED, *HELD), {Kind.CANCEL_WITHOUT_SAGA}),
    "its saga is over": ((order(OrderStatus.PENDING), ABANDONED, *FREE), {Kind.ORDER_LEFT_BEHIND}),
    "an open saga without it": ((line("place-order", "PARKED", command="oaas saga cancel X"), *HELD), {Kind.SAGA_WITHOUT_ORDER}),
    "stock": ((order(OrderStatus.REJECTED), ABANDONED, HELD[0], *FREE[1:]), {Kind.ORPHAN_STOCK}),
    "quota": ((order(OrderStatus.REJECTED), ABANDONED, FREE[0], HELD[1], FREE[2]), {Kind.ORPHAN_QUOTA}),
    "charge": ((order(OrderStatus.REJECTED), ABANDONED, *FREE[:2], HELD[2]), {Kind.ORPHAN_CHARGE}),
    "payment": (
        (order(OrderStatus.REJECTED, by_card=True), ABANDONED, *FREE, line("payment", "AUTHORISED", was="AUTHORISED", pence=100)),
        {Kind.ORPHAN_PAYMENT},
    ),
    "held for nobody": (HELD, {Kind.ORPHAN_STOCK, Kind.ORPHAN_QUOTA, Kind.ORPHAN_CHARGE}),
    "not consumed": ((order(OrderStatus.COMPLETED), PLACED, HELD[0], *USED[1:]), {Kind.UNCONSUMED_STOCK}),
    "not settled": ((order(OrderStatus.COMPLETED), PLACED, USED[0], HELD[1], USED[2]), {Kind.UNSETTLED_QUOTA}),
    "no stock": ((order(OrderStatus.CONFIRMED), PLACED, *HELD[1:]), {Kind.STOCK_DIFFERS}),
    "other goods": ((order(OrderStatus.CONFIRMED, goods="2 APPLE"), PLACED, *HELD), {Kind.STOCK_DIFFERS}),
    "another amount": ((order(OrderStatus.CONFIRMED, pence=99), PLACED, *HELD), {Kind.QUOTA_DIFFERS, Kind.CHARGE_DIFFERS}),
    "costs nothing": ((order(OrderStatus.COMPLETED), PLACED, *USED[:2], FREE[2]), {Kind.CHARGE_DIFFERS}),
    "not paid": ((order(OrderStatus.CONFIRMED, by_card=True), PLACED, *HELD), {Kind.PAYMENT_DIFFERS}),
    "paid and on account": (
        (order(OrderStatus.CONFIRMED), PLACED, *HELD, line("payment", "CAPTURED", was="CAPTURED", pence=100)),
        {Kind.PAYMENT_DIFFERS},
    ),
    "never captured": (
        (order(OrderStatus.CONFIRMED, by_card=True), PLACED, *HELD, line("payment", "AUTHORISED", was="AUTHORISED", pence=100)),
        {Kind.PAYMENT_NOT_TAKEN},
    ),
}


@pytest.mark.parametrize(("lines", "expected"), WRONG.values(), ids=WRONG)
def test_each_thing_that_is_wrong_is_named(lines: Sequence[Line], expected: set[Kind]) -> None:
    assert kinds(lines) == expected


def test_every_kind_has_its_story_and_its_mend() -> None:
    told = {kind for _, expected in WRONG.values() for kind in expected}
    assert told | {Kind.FORGOTTEN_ORDER, Kind.STOCK_UNBALANCED, Kind.QUOTA_UNBALANCED, Kind.LEDGER_UNBALANCED} == set(Kind)
    assert set(MENDS) == set(Kind) - {Kind.SAGA_WITHOUT_ORDER}


EFFECTS: Final[dict[str, tuple[Consequence | None, str]]] = {
    "no saga": (Consequence.START_ORDER, "places the order now: 1 APPLE are held and 100 pence are charged"),
    "no saga, and cancelled": (Consequence.CANCEL_ORDER, "as its client wanted"),
    "nobody cancels": (Consequence.CANCEL_ORDER, "1 APPLE can be sold again, 100 pence are refunded in the ledger"),
    "its saga is over": (Consequence.REJECT_ORDER, "rejects the order"),
    "an open saga without it": (None, "undoes what the saga has done, and ends it: 1 APPLE can be sold again"),
    "stock": (Consequence.RELEASE_STOCK, "1 APPLE can be sold again"),
    "quota": (None, "one order and 100 pence more"),
    "charge": (Consequence.REFUND_CHARGE, "refunds 100 pence"),
    "payment": (Consequence.RETURN_PAYMENT, "give 100 pence back to the card"),
    "not consumed": (None, "1 APPLE left the shop"),
    "not settled": (None, "used for good"),
    "no stock": (Consequence.CANCEL_ORDER, "cancels the order, as its client could: 100 pence are refunded"),
    "other goods": (Consequence.CANCEL_ORDER, "cancels the order, as its client could: 1 APPLE can be sold again"),
    "costs nothing": (None, "accepting changes nothing"),
    "not paid": (Consequence.CANCEL_ORDER, "cancels the order"),
    "paid and on account": (Consequence.CANCEL_ORDER, "100 pence go back to the card"),
    "never captured": (Consequence.TAKE_PAYMENT, "take 100 pence from the card"),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_what_mending_does_is_said_in_one_sentence_and_named_if_a_customer_would_notice(name: str) -> None:
    confirm, words = EFFECTS[name]
    found = of_order(TENANT, WRONG[name][0], NOW, LONG)[0]
    assert (found.confirm, words in found.mending) == (confirm, True), found.mending


def test_an_order_ends_as_its_saga_has_and_one_that_was_paid_by_a_forgotten_card_is_rejected() -> None:
    old = {"changed_at": NOW - LONG - timedelta(seconds=1)}
    held = [line(one.book, one.state, goods=one.goods, pence=one.pence, **old) for one in HELD]
    placed = line("place-order", "COMPLETED", was="2", **old)
    stories: dict[Consequence, Sequence[Line]] = {
        Consequence.CONFIRM_ORDER: (order(OrderStatus.PENDING), PLACED, *HELD),
        Consequence.REJECT_ORDER: (order(OrderStatus.PENDING, by_card=True),),
        Consequence.CANCEL_ORDER: (order(OrderStatus.CONFIRMED, **old), placed, *held),
        Consequence.COMPLETE_ORDER: (order(OrderStatus.READY, **old), placed, *held),
    }
    for consequence, lines in stories.items():
        assert [one.confirm for one in of_order(TENANT, lines, NOW, LONG)] == [consequence]


def test_what_can_be_known_and_right_is_offered_to_be_accepted() -> None:
    found = [one for lines, _ in WRONG.values() for one in of_order(TENANT, lines, NOW, LONG)]
    for one in found:
        assert (one.accepting is not None) == (one.kind in CAN_BE_RIGHT), one.kind
    accepted = next(one.accepting for one in found if one.kind is Kind.STOCK_DIFFERS)
    assert accepted == f"oaas reconcile accept stock-differs --tenant {TENANT} --order {ORDER} --reason '...'"


def test_what_is_accepted_is_told_in_the_same_words_while_its_order_goes_on() -> None:
    other = tuple(replace(one, goods="2 APPLE" if one.goods else "", pence=one.pence and 99) for one in HELD)
    used = tuple(replace(one, goods="2 APPLE" if one.goods else "", pence=one.pence and 99) for one in USED)
    paid = line("payment", "CAPTURED", was="CAPTURED", pence=98)
    told = [
        {one.kind: one.what for one in of_order(TENANT, (order(status, by_card=True), PLACED, *held, paid), NOW, LONG)}
        for status, held in ((OrderStatus.CONFIRMED, other), (OrderStatus.READY, other), (OrderStatus.COMPLETED, used))
    ]
    assert {*DIFFERING} <= told[0].keys()
    for kind in DIFFERING:
        assert len({one[kind] for one in told}) == 1, kind


def test_refunds_that_are_missing_are_agreed_to_before_they_are_entered() -> None:
    for lacks_refunds, confirm in ((True, Consequence.REFUND_CHARGE), (False, None)):
        one = Imbalance(book="ledger", key="x", stored="CHARGED", counted="", changed_at=NOW, lacks_refunds=lacks_refunds)
        assert [found.confirm for found in of_totals(TENANT, [one])] == [confirm]


def test_while_a_saga_is_open_what_it_may_give_back_is_no_orphan() -> None:
    assert kinds((order(OrderStatus.REJECTED), line("place-order", "NEEDS_ATTENTION", was="2"), *HELD)) == set()


def test_an_order_that_nobody_moves_for_long_is_told_while_it_holds_stock() -> None:
    old = {"changed_at": NOW - LONG - timedelta(seconds=1)}
    held = tuple(line(one.book, one.state, goods=one.goods, pence=one.pence, **old) for one in HELD)
    placed = line("place-order", "COMPLETED", was="2", **old)
    assert kinds((order(OrderStatus.READY, **old), placed, *held)) == {Kind.FORGOTTEN_ORDER}
    assert kinds((order(OrderStatus.READY, **old), PLACED, *held)) == set()


def test_the_same_thing_wrong_has_the_same_id_and_another_has_another() -> None:
    def one(kind: Kind, key: str, what: str) -> Finding:
        return Finding(tenant_id=TENANT, kind=kind, key=key, what=what, since=NOW, command="x")

    assert one(Kind.ORPHAN_STOCK, "a", "x").id == one(Kind.ORPHAN_STOCK, "a", "y").id
    assert len({one(kind, key, "x").id for kind in Kind for key in "ab"}) == 2 * len(Kind)


def test_what_the_shop_has_begun_with_is_accepted_and_what_it_has_not_is_cancelled() -> None:
    for status, verb in ((OrderStatus.CONFIRMED, "mend"), (OrderStatus.READY, "accept")):
        [found] = of_order(TENANT, (order(status), PLACED, *HELD[1:]), NOW, LONG)
        assert found.command == f"oaas reconcile {verb} stock-differs --tenant {TENANT} --order {ORDER} --reason '...'"


def test_totals_are_told_by_their_key() -> None:
    told = [
        Imbalance(book=book, key="shop/APPLE", stored=stored, counted="2", changed_at=NOW)
        for book in ("stock", "quota", "ledger")
        for stored in ("1", "no row")
    ]
    found = of_totals(TENANT, told)
    assert [one.kind for one in found][::2] == [Kind.STOCK_UNBALANCED, Kind.QUOTA_UNBALANCED, Kind.LEDGER_UNBALANCED]
    assert [one.is_mendable for one in found] == [True, False] * 3
    assert "--key 'shop/APPLE'" in found[0].command


def test_books_are_compared_after_a_start_then_regularly_and_after_an_outage() -> None:
    rounds = Rounds(Settings(reconcile_every_s=1000, reconcile_grace_s=100), 0)

    def due(now_s: float, *, is_out: bool = False, interruptions: int = 0) -> bool:
        if is_due := rounds.is_due(now_s, is_out=is_out, interruptions=interruptions):
            rounds.compared(now_s)
        return is_due

    assert [now for now in range(0, 1300, 50) if due(now)] == [100, 1100]
    # The database is away for a while: nothing is compared, and afterwards a grace passes first.
    assert [now for now in range(1300, 1400, 50) if due(now, is_out=True)] == []
    assert [now for now in range(1400, 1700, 50) if due(now)] == [1500]
    # So does it if the broker's connection was lost in between.
    assert [now for now in range(1700, 2000, 50) if due(now, interruptions=1)] == [1800]
    assert [now for now in range(2000, 2900, 50) if due(now, interruptions=1)] == [2800]


def test_an_outage_that_comes_again_and_again_does_not_put_off_what_is_due() -> None:
    rounds = Rounds(Settings(reconcile_every_s=1000, reconcile_grace_s=100), 0)
    found = [now for now in range(0, 1100, 50) if rounds.is_due(now, is_out=False, interruptions=now)]
    assert found[0] == 1000
