"""HTTP in: what happened to an order, step by step, in words."""

import asyncio
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from sqlalchemy import Row, text

from contracts.values import OrderId, TenantId
from infra.http import Problem, Timestamp
from infra.http.auth import Caller, caller_with
from infra.settings import Settings
from infra.transaction import Transactions
from sagas.engine.history import Kind
from sagas.engine.narrative import sentence

_SAGA: Final = text(
    "SELECT id, name, state, started_at FROM sagas.saga WHERE tenant_id = :tenant AND subject = :subject ORDER BY started_at, id"
)
_EVENTS: Final = text(
    "SELECT saga_id, at, kind, step, phase, attempt, detail, trace_id FROM sagas.saga_event"
    " WHERE tenant_id = :tenant AND saga_id = ANY(:sagas) ORDER BY at, saga_id, number"
)

_LOOK_AGAIN_S: Final = 0.05
_INSIDE: Final = "it is looked into"


class TimelineEvent(BaseModel):
    """One thing that happened."""

    at: Timestamp
    step: str | None
    kind: str = Field(description="STARTED, ASKED, ANSWERED, REFUSED, SILENT, FAULTED, COMPENSATING, COMPLETED, ABANDONED ...")
    words: str
    trace_id: str | None


class Timeline(BaseModel):
    """What happened to an order so far, oldest first."""

    order_id: OrderId
    saga_id: UUID
    saga: str
    state: str
    started_at: Timestamp
    events: list[TimelineEvent]


def router(transaction: Transactions, settings: Settings) -> APIRouter:
    """The coordinator's routes."""
    routes = APIRouter(tags=["orders"])

    @routes.get("/v1/orders/{order_id}/timeline", summary="What happened to an order, step by step")
    async def timeline(order_id: OrderId, caller: Annotated[Caller, Depends(caller_with("orders:read", "orders:write"))]) -> Timeline:
        """Everything the platform did about the order, in plain words."""
        until = asyncio.get_running_loop().time() + settings.projection_patience_s
        while (found := await _timeline(transaction, caller.tenant_id, order_id)) is None:
            # An order that was placed a moment ago is still on its way here; no transaction is open meanwhile.
            if asyncio.get_running_loop().time() >= until:
                detail = (
                    f"nothing has happened to an order {order_id}: GET /v1/orders/{order_id} tells whether there is one that still waits"
                )
                raise Problem(404, "No timeline", detail)
            await asyncio.sleep(_LOOK_AGAIN_S)
        return found

    return routes


async def _timeline(transaction: Transactions, tenant_id: TenantId, order_id: OrderId) -> Timeline | None:
    async with transaction(tenant_id) as scope:
        sagas = (await scope.session.execute(_SAGA, {"tenant": tenant_id, "subject": str(order_id)})).all()
        if not sagas:
            return None
        names = {saga.id: saga.name for saga in sagas}
        events = await scope.session.execute(_EVENTS, {"tenant": tenant_id, "sagas": [saga.id for saga in sagas]})
        return Timeline(
            order_id=order_id,
            saga_id=sagas[-1].id,
            saga=sagas[-1].name,
            state=sagas[-1].state,
            started_at=sagas[-1].started_at,
            events=[_told(row, names[row.saga_id]) for row in events],
        )


def _told(row: Row[Any], saga: str) -> TimelineEvent:
    # A fault's own words tell how the platform is made inside; they are for operators.
    detail = _INSIDE if ":" in row.detail else row.detail
    words = sentence(row.kind, step=row.step, phase=row.phase, attempt=row.attempt, detail=detail)
    if row.kind == Kind.STARTED:
        # An order that is cancelled has two sagas, told as one story.
        words = f"Started: {saga}."
    return TimelineEvent(at=row.at, step=row.step, kind=row.kind, words=words, trace_id=row.trace_id)
