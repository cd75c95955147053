"""The saga that is measured, exactly the workload's steps in its order, and the coordinator that runs it.

PLACE_ORDER as shipped asks more: it enters each order in the ledger, and reserves all at once.
"""

import asyncio
from datetime import timedelta
from typing import Final

from contracts.inventory import OutOfStock, ReleaseStock, ReserveStock
from contracts.orders import ApproveOrder, OrderCancelled, OrderPlaced, RejectOrder
from contracts.tenants import QuotaExceeded, ReleaseQuota, ReserveQuota, TenantSuspended
from contracts.values import Rejection
from infra.service import Running, Service
from sagas.engine.coordinator import Coordinator
from sagas.engine.deadlines import Deadlines
from sagas.engine.definition import Saga, Step
from sagas.metrics import count_sagas

_LONG: Final = timedelta(minutes=10)

MEASURED: Final = Saga[OrderPlaced, Rejection](
    name="measured-order",
    version=1,
    started_by=OrderPlaced,
    steps=(
        Step(
            name="reserve-stock",
            ask=lambda order, so_far: ReserveStock(order_id=order.order_id, shop_id=order.shop_id, lines=order.lines),
            undo=lambda order, so_far: ReleaseStock(order_id=order.order_id),
            refusals={OutOfStock: Rejection.OUT_OF_STOCK},
            within=_LONG,
        ),
        Step(
            name="reserve-quota",
            ask=lambda order, so_far: ReserveQuota(order_id=order.order_id, amount=order.total, placed_at=order.placed_at),
            undo=lambda order, so_far: ReleaseQuota(order_id=order.order_id),
            refusals={QuotaExceeded: Rejection.OVER_QUOTA, TenantSuspended: Rejection.TENANT_SUSPENDED},
            within=_LONG,
        ),
    ),
    pivot=Step(
        name="approve-order",
        ask=lambda order, so_far: ApproveOrder(order_id=order.order_id),
        refusals={OrderCancelled: Rejection.CANCELLED},
        within=_LONG,
    ),
    abandon=lambda order, why: RejectOrder(order_id=order.order_id, rejection=why),
    no_answer=Rejection.NO_ANSWER,
    fault=Rejection.FAULT,
    cancelled=Rejection.CANCELLED,
    deadline=timedelta(hours=1),
)


async def _watch(running: Running) -> None:
    """All that the shipped coordinator does beside consuming."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Deadlines(Coordinator([MEASURED]), running).run())
        tasks.create_task(count_sagas(running, Coordinator([MEASURED]).sagas))


SERVICE: Final = Service(name="sagas", handles=lambda _settings: (Coordinator([MEASURED]).handles(),), background=_watch)
