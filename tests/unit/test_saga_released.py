"""A released version of a saga keeps its meaning: each kind of change is refused at start-up and named; tuning and layout are not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from contracts.inventory import OutOfStock, ReleaseStock, ReserveStock
from contracts.orders import ApproveOrder, OrderCancelled, OrderPlaced, RejectOrder
from contracts.tenants import QuotaExceeded, ReleaseQuota, ReserveQuota, TenantSuspended
from contracts.values import Rejection
from sagas.consumers import RELEASED, SAGAS
from sagas.engine.definition import OnFault, Retry, Saga, Step, parallel
from sagas.engine.released import NotAsReleased, record_new, require_released, text_of

Errand = Saga[OrderPlaced, Rejection]
Part = Step[OrderPlaced, Rejection]

QUOTA: Final = Part(
    name="reserve-quota",
    ask=lambda order, so_far: ReserveQuota(order_id=order.order_id, amount=order.total, placed_at=order.placed_at),
    undo=lambda order, so_far: ReleaseQuota(order_id=order.order_id),
    refusals={QuotaExceeded: Rejection.OVER_QUOTA, TenantSuspended: Rejection.TENANT_SUSPENDED},
    within=timedelta(seconds=10),
)
STOCK: Final = Part(
    name="reserve-stock",
    ask=lambda order, so_far: ReserveStock(order_id=order.order_id, shop_id=order.shop_id, lines=order.lines),
    undo=lambda order, so_far: ReleaseStock(order_id=order.order_id),
    refusals={OutOfStock: Rejection.OUT_OF_STOCK},
    within=timedelta(seconds=30),
)
APPROVE: Final = Part(
    name="approve-order",
    ask=lambda order, so_far: ApproveOrder(order_id=order.order_id),
    refusals={OrderCancelled: Rejection.CANCELLED},
    within=timedelta(seconds=10),
)
ERRAND: Final = Errand(
    name="errand",
    version=1,
    started_by=OrderPlaced,
    steps=(QUOTA, STOCK),
    pivot=APPROVE,
    abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=why),
    no_answer=Rejection.NO_ANSWER,
    fault=Rejection.FAULT,
    cancelled=Rejection.CANCELLED,
)
NO_REFUSALS: Final = replace(APPROVE, refusals={})


def changed(**changes: Any) -> Errand:
    return replace(ERRAND, **changes)


CHANGES: Final[dict[str, tuple[Errand, str]]] = {
    "a step is called otherwise": (
        changed(steps=(QUOTA, replace(STOCK, name="hold-stock"))),
        "step reserve-stock is called hold-stock now",
    ),
    "a step is gone": (changed(steps=(QUOTA,)), "step reserve-stock is gone"),
    "a step is new": (changed(steps=(QUOTA, STOCK, replace(QUOTA, name="again"))), "step again is new"),
    "another command": (
        changed(steps=(replace(QUOTA, ask=lambda order, so_far: ReleaseQuota(order_id=order.order_id)), STOCK)),
        "ask of step reserve-quota was 'ReserveQuota(",
    ),
    "another field of the command": (
        changed(
            steps=(
                replace(QUOTA, ask=lambda order, so_far: ReserveQuota(order_id=order.order_id, amount=0, placed_at=order.placed_at)),
                STOCK,
            )
        ),
        "amount=0",
    ),
    "another undo": (
        changed(steps=(QUOTA, replace(STOCK, undo=lambda order, so_far: ReleaseQuota(order_id=order.order_id)))),
        "undo of step reserve-stock was 'ReleaseStock(",
    ),
    "another meaning of a refusal": (
        changed(steps=(QUOTA, replace(STOCK, refusals={OutOfStock: Rejection.OVER_QUOTA}))),
        "refusals of step reserve-stock was {'OutOfStock': 'OUT_OF_STOCK'}, is {'OutOfStock': ",
    ),
    "another order": (
        changed(steps=(STOCK, QUOTA)),
        "the order of steps was reserve-quota > reserve-stock > approve-order, is reserve-stock",
    ),
    "steps at once": (changed(steps=(parallel(QUOTA, STOCK),)), "is reserve-quota + reserve-stock > approve-order"),
    "the pivot moved": (
        changed(steps=(QUOTA,), pivot=STOCK, then=(APPROVE,)),
        "pivot was 'approve-order', is 'reserve-stock'",
    ),
    "the pivot is called otherwise": (changed(pivot=replace(APPROVE, name="confirm")), "step approve-order is called confirm now"),
    "needed only sometimes": (
        changed(steps=(replace(QUOTA, when=lambda order, so_far: order.total > 0), STOCK)),
        "when of step reserve-quota was None, is 'order.total > 0'",
    ),
    "a fault undoes": (
        changed(steps=(replace(QUOTA, on_fault=OnFault.UNDO), STOCK)),
        "on_fault of step reserve-quota was 'PARK', is ",
    ),
    "silence means something else": (changed(no_answer=Rejection.FAULT), "reasons was {'no_answer': 'NO_ANSWER'"),
    "another way to abandon": (
        changed(abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=Rejection.FAULT)),
        "abandon was 'RejectOrder(order_id=order.order_id, rejection=why)', is ",
    ),
}

# fmt: off
LAID_OUT_OTHERWISE: Final = replace(
    STOCK,
    ask=lambda order, so_far: ReserveStock(  # what for
        order_id = order.order_id,
        shop_id = order.shop_id,
        lines = order.lines,
    ), undo=lambda order, so_far: ReleaseStock(order_id=(order.order_id)))
# fmt: on
TUNED: Final[dict[str, Errand]] = {
    "layout": changed(steps=(QUOTA, LAID_OUT_OTHERWISE)),
    "times": changed(
        steps=(replace(QUOTA, within=timedelta(seconds=1)), STOCK), deadline=timedelta(hours=1), park_at_most=timedelta(hours=1)
    ),
    "retries": changed(steps=(replace(QUOTA, retry=Retry(attempts=3, on=(QuotaExceeded,))), STOCK)),
    "no longer begun with": changed(begins=False),
}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The errand as it was released."""
    path = tmp_path / "released.json"
    assert record_new([ERRAND], path) == ["errand version 1"]
    return path


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_meaning_without_a_new_version_is_refused_and_named(kind: str, record: Path) -> None:
    saga, says = CHANGES[kind]
    with pytest.raises(NotAsReleased) as refused:
        require_released([saga], record)
    assert says in str(refused.value)
    assert "errand version 1 is not as it was released" in str(refused.value)
    assert "add version 2 beside it" in str(refused.value)
    assert "\n" not in str(refused.value)
    require_released([ERRAND], record)


@pytest.mark.parametrize("kind", TUNED)
def test_tuning_and_layout_change_no_meaning(kind: str, record: Path) -> None:
    require_released([TUNED[kind]], record)


def test_a_new_version_beside_the_old_one_is_recorded_once_and_the_old_record_stays(record: Path) -> None:
    second = changed(version=2, steps=(STOCK,))
    with pytest.raises(NotAsReleased, match="errand version 2 is not recorded: run `oaas saga record`"):
        require_released([ERRAND, second], record)
    assert record_new([changed(steps=(STOCK,)), second], record) == ["errand version 2"]
    require_released([ERRAND, second], record)


def test_a_record_that_somebody_edited_is_seen(record: Path) -> None:
    record.write_text(record.read_text().replace("OUT_OF_STOCK", "OVER_QUOTA"))
    for saga in (ERRAND, changed(steps=(QUOTA, replace(STOCK, refusals={OutOfStock: Rejection.OVER_QUOTA})))):
        with pytest.raises(NotAsReleased):
            require_released([saga], record)


def test_lambdas_on_one_line_and_inside_each_other_are_told_apart() -> None:
    pair: list[Callable[..., Any]] = [lambda order, so_far: order.total, lambda order, so_far: order.lines]
    assert [text_of(one) for one in pair] == ["order.total", "order.lines"]
    nest: list[Callable[..., Callable[..., Any]]] = [lambda order, so_far: lambda line: line.sku]
    assert text_of(nest[0]) == "lambda line: line.sku"
    assert text_of(nest[0](None, None)) == "line.sku"


def test_what_runs_is_what_is_recorded() -> None:
    require_released(SAGAS, RELEASED)
