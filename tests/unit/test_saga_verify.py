"""verify() names every problem of a saga in plain words."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.inventory import ReleaseStock, ReserveStock, StockReserved
from contracts.messages import Command
from contracts.orders import ApproveOrder, OrderCancelled, OrderPlaced, RejectOrder
from contracts.tenants import QuotaReserved, ReleaseQuota
from contracts.values import Rejection
from sagas.engine import machine
from sagas.engine.coordinator import AmbiguousStart, Coordinator
from sagas.engine.definition import OnFault, Retry, Saga, SoFar, Step, parallel
from sagas.engine.instance import State
from sagas.engine.naming import UnclearCommand, command_of
from sagas.engine.verify import UnsoundSaga, problems, verify
from sagas.place_order import PLACE_ORDER
from tests.kit.dialogue import NOON, SAGA_ID, TENANT_ID
from tests.unit.test_place_order import ORDER

QUOTA, CHARGE, STOCK = PLACE_ORDER.groups[0]
assert PLACE_ORDER.pivot
PIVOT = PLACE_ORDER.pivot
OTHER: Any = State.PARKED
"""A reason of another enumeration. Written directly into a saga, mypy would infer a common base of both."""
LATER_STEP: Step[OrderPlaced, Rejection] = Step(
    name="later", ask=lambda order, so_far: ReleaseStock(order_id=order.order_id), within=timedelta(seconds=1)
)


def _annotated(order: OrderPlaced, so_far: SoFar) -> ReleaseStock:
    return _somewhere_else(order)


def _somewhere_else(order: OrderPlaced) -> ReleaseStock:
    return ReleaseStock(order_id=order.order_id)


def _looks_at_the_quota(order: OrderPlaced, so_far: SoFar) -> ReserveStock:
    assert so_far[QuotaReserved]
    return ReserveStock(order_id=order.order_id, shop_id=order.shop_id, lines=order.lines)


def _with_steps(*steps: Any) -> Saga[Any, Any]:
    return replace(PLACE_ORDER, steps=steps)


UNSOUND: dict[str, Saga[Any, Any]] = {
    "there is no step before the pivot": _with_steps(),
    "a parallel(...) is empty": _with_steps(QUOTA, parallel()),
    "the saga has no name": replace(PLACE_ORDER, name=""),
    "version is 0; versions count from 1": replace(PLACE_ORDER, version=0),
    "step name reserve-quota is used 2 times": _with_steps(QUOTA, replace(STOCK, name="reserve-quota")),
    "step name approve-order is used 2 times": _with_steps(QUOTA, replace(STOCK, name="approve-order")),
    "step reserve-stock comes before the pivot and has no undo": _with_steps(QUOTA, replace(STOCK, undo=None)),
    "step reserve-stock can be refused with OutOfStock, which has no meaning": _with_steps(replace(STOCK, refusals={})),
    "step reserve-stock gives a meaning to OrderCancelled, which its command never answers": _with_steps(
        replace(STOCK, refusals={**STOCK.refusals, OrderCancelled: Rejection.CANCELLED})
    ),
    "step approve-order can be refused with OrderCancelled, which has no meaning": replace(PLACE_ORDER, pivot=replace(PIVOT, refusals={})),
    "step reserve-stock declares no refusal, so it cannot say no when its undo has overtaken it": _with_steps(
        replace(STOCK, ask=lambda order, so_far: ReleaseStock(order_id=order.order_id), refusals={})
    ),
    "the undo of step reserve-stock can be refused with OutOfStock": _with_steps(replace(STOCK, undo=STOCK.ask)),
    "abandon can be refused with OrderCancelled": replace(PLACE_ORDER, abandon=lambda order, why: ApproveOrder(order_id=order.order_id)),
    "pivot approve-order has an undo": replace(PLACE_ORDER, pivot=replace(PIVOT, undo=STOCK.undo)),
    "pivot approve-order says on_fault=UNDO": replace(PLACE_ORDER, pivot=replace(PIVOT, on_fault=OnFault.UNDO)),
    "within of step reserve-stock is not positive": _with_steps(replace(STOCK, within=timedelta(0))),
    "deadline is not positive": replace(PLACE_ORDER, deadline=timedelta(seconds=-1)),
    "the ask of step reserve-stock: names 0 commands (none)": _with_steps(replace(STOCK, ask=lambda order, so_far: _somewhere_else(order))),
    "the undo of step reserve-stock: names 2 commands (ReleaseQuota, ReleaseStock)": _with_steps(
        replace(STOCK, undo=lambda order, so_far: (ReleaseQuota if order else ReleaseStock)(order_id=order.order_id))
    ),
    "the undo of step reserve-stock looks at StockReserved: 0 earlier steps answer it": _with_steps(
        replace(STOCK, undo=lambda order, so_far: ReleaseStock(order_id=so_far[StockReserved].reservation_id))
    ),
    "the ask of step reserve-stock looks at QuotaReserved: 0 earlier steps answer it": _with_steps(
        parallel(QUOTA, replace(STOCK, ask=_looks_at_the_quota))
    ),
    "the ask of step reserve-stock looks at QuotaReserved: 2 earlier steps answer it": _with_steps(
        QUOTA,
        replace(QUOTA, name="again"),
        replace(STOCK, ask=_looks_at_the_quota),
    ),
    "the ask of step reserve-stock looks at QuotaReserved: 1 earlier steps answer it, but not one always does": _with_steps(
        replace(QUOTA, when=lambda order, so_far: order.total > 0), replace(STOCK, ask=_looks_at_the_quota)
    ),
    "the when of step reserve-stock looks at QuotaReserved: 0 earlier steps answer it": _with_steps(
        parallel(QUOTA, replace(STOCK, when=lambda order, so_far: so_far.get(QuotaReserved) is not None))
    ),
    "there is nothing to do: no step, no pivot, no then": replace(PLACE_ORDER, steps=(), pivot=None, then=()),
    "there are steps but no pivot": replace(PLACE_ORDER, pivot=None),
    "cancelled is missing: a saga with a pivot can turn back": replace(PLACE_ORDER, cancelled=None),
    "abandon is missing: a saga with a pivot can turn back": replace(PLACE_ORDER, abandon=None),
    "pivot approve-order has a when": replace(PLACE_ORDER, pivot=replace(PIVOT, when=lambda order, so_far: True)),
    "pivot approve-order gives its silence a meaning": replace(PLACE_ORDER, pivot=replace(PIVOT, no_answer=Rejection.NO_ANSWER)),
    "step later, after the pivot, has an undo": replace(PLACE_ORDER, then=(replace(LATER_STEP, undo=STOCK.undo),)),
    "step later, after the pivot, says on_fault=UNDO": replace(PLACE_ORDER, then=(replace(LATER_STEP, on_fault=OnFault.UNDO),)),
    "step later, after the pivot, can be refused with OutOfStock; there is only forward": replace(
        PLACE_ORDER, then=(replace(STOCK, name="later", undo=None),)
    ),
    "no_answer of step reserve-stock is a State, and fault is a Rejection": _with_steps(replace(STOCK, no_answer=OTHER)),
    "cancelled is a State, and fault is a Rejection": replace(PLACE_ORDER, cancelled=OTHER),
    "step reserve-stock has 0 attempts": _with_steps(replace(STOCK, retry=Retry(attempts=0))),
    "the pauses of step reserve-stock go from": _with_steps(replace(STOCK, retry=Retry(attempts=2, longest=timedelta(0)))),
    "the pauses of step reserve-stock would shrink": _with_steps(replace(STOCK, retry=Retry(attempts=2, factor=0.5))),
    "step reserve-stock tries again on OrderCancelled, which its command never answers": _with_steps(
        replace(STOCK, retry=Retry(attempts=2, on=(OrderCancelled,)))
    ),
    "step reserve-stock may take 0:00:30, but the saga's deadline is 0:00:20": replace(_with_steps(STOCK), deadline=timedelta(seconds=20)),
}


@pytest.mark.parametrize("problem", UNSOUND)
def test_an_unsound_saga_is_told_what_is_wrong(problem: str) -> None:
    found = list(problems(UNSOUND[problem]))
    assert any(problem in each for each in found), found
    with pytest.raises(UnsoundSaga):
        verify(UNSOUND[problem])


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(UnsoundSaga) as unsound:
        verify(replace(_with_steps(replace(STOCK, undo=None, within=timedelta(0))), version=0))
    assert len(unsound.value.problems) == 3


def test_a_later_step_may_look_at_what_one_earlier_step_answered() -> None:
    looking = replace(STOCK, ask=_looks_at_the_quota)
    verify(_with_steps(QUOTA, looking))


def test_a_step_that_may_not_be_needed_is_looked_at_without_insisting() -> None:
    looking = replace(STOCK, when=lambda order, so_far: so_far.get(QuotaReserved) is None)
    verify(_with_steps(replace(QUOTA, when=lambda order, so_far: order.total > 0), looking))


def test_the_engine_starts_nothing_that_verify_refuses() -> None:
    with pytest.raises(UnsoundSaga):
        machine.start(replace(PLACE_ORDER, cancelled=None), SAGA_ID, TENANT_ID, ORDER, NOON)
    with pytest.raises(UnsoundSaga):
        Coordinator([replace(PLACE_ORDER, cancelled=None)])


def test_one_event_starts_one_saga() -> None:
    with pytest.raises(AmbiguousStart, match="OrderPlaced would start both another and place-order"):
        Coordinator([PLACE_ORDER, replace(PLACE_ORDER, name="another")])


def test_the_command_is_found_in_the_lambda_or_in_the_return_annotation() -> None:
    assert command_of(STOCK.ask) is ReserveStock
    assert PLACE_ORDER.abandon
    assert command_of(PLACE_ORDER.abandon) is RejectOrder
    assert command_of(_annotated) is ReleaseStock


def test_a_command_from_an_enclosing_function_is_found_too() -> None:
    class Local(ReleaseQuota):
        pass

    def build(order: OrderPlaced, so_far: Any) -> Any:
        return Local(order_id=order.order_id)

    assert issubclass(Local, Command)
    assert command_of(build) is Local


def test_a_builder_that_names_no_command_is_unclear() -> None:
    with pytest.raises(UnclearCommand, match="name exactly one, or annotate"):
        command_of(lambda order, so_far: _somewhere_else(order))
