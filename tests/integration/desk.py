"""Operators at work on a real database: their routes behind the whole HTTP edge, and sagas brought to where a test needs them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import httpx
from prometheus_client import CollectorRegistry

from contracts.catalog import name_of
from contracts.inventory import OutOfStock, StockReserved
from contracts.messages import Envelope, Message, Reply, StepFaulted
from contracts.orders import OrderApproved, OrderPlaced, OrderRejected
from contracts.payments import PaymentAuthorised, PaymentCaptured
from contracts.tenants import QuotaExceeded, QuotaReleased, QuotaReserved
from contracts.values import OrderId, OrderLine, SagaId, ShopId, TenantId
from infra import clock
from infra.batch import Batches
from infra.database import open_pool
from infra.http import create_app
from infra.http.verifier import Verifier
from infra.settings import Settings
from infra.token import ensure_development_key
from infra.transaction import Transactions
from sagas.consumers import coordinator
from sagas.engine.coordinator import Coordinator, saga_id
from sagas.engine.instance import ABANDON_STEP, Phase, State, command_id
from sagas.main import SERVICE
from services.ops import ops_api
from tests.conformance.places import opened
from tests.integration.serving import Api
from tests.integration.terminal import on_a_port

FAULT: Final = StepFaulted(error="KeyError: 'shelf'", fingerprint="f00d" * 4)
Answer = tuple[str, Phase, Reply]

_ASK, _UNDO = Phase.ASK, Phase.UNDO
_QUOTA: Final[Answer] = ("reserve-quota", _ASK, QuotaReserved())
_STOCK: Final[Answer] = ("reserve-stock", _ASK, StockReserved(reservation_id=uuid4()))
_NO_STOCK: Final[Answer] = ("reserve-stock", _ASK, OutOfStock())
_NO_QUOTA: Final[Answer] = ("reserve-quota", _ASK, QuotaExceeded())
_PAID: Final[Answer] = ("authorise-payment", _ASK, PaymentAuthorised(payment_id=uuid4()))
_APPROVED: Final[Answer] = ("approve-order", _ASK, OrderApproved())
_ABANDONING: Final[tuple[Answer, ...]] = (_QUOTA, _NO_STOCK, ("reserve-quota", _UNDO, QuotaReleased()))
WAY_TO: Final[dict[State, tuple[Answer, ...]]] = {
    State.RUNNING: (),
    State.COMPENSATING: (_QUOTA, _NO_STOCK),
    State.ABANDONING: _ABANDONING,
    State.COMPLETING: (_QUOTA, _STOCK, _PAID, _APPROVED),
    State.PARKED: (_QUOTA, ("reserve-stock", _ASK, FAULT)),
    State.NEEDS_ATTENTION: (_NO_QUOTA, ("reserve-stock", _UNDO, FAULT)),
    State.COMPLETED: (_QUOTA, _STOCK, _PAID, _APPROVED, ("capture-payment", _ASK, PaymentCaptured())),
    State.ABANDONED: (*_ABANDONING, (ABANDON_STEP, Phase.ABANDON, OrderRejected())),
}
"""What is answered until an order that is paid by card is there; PAUSED is an operator's doing."""


@dataclass
class Desk:
    """An operator's HTTP client, and a tenant of its own whose sagas the test brings along."""

    api: Api
    administrator: asyncpg.Connection
    base_url: str
    """Where the same routes listen, for commands that are processes."""
    coordinator: Coordinator
    tenant_id: TenantId = field(default_factory=lambda: TenantId(uuid4()))

    @property
    def operator(self) -> dict[str, str]:
        return self.api.token("ops")

    def of_another_tenant(self) -> "Desk":
        """The same desk, with sagas of a new tenant."""
        return replace(self, tenant_id=TenantId(uuid4()))

    async def place(self, transaction: Transactions | None = None, tenant_id: TenantId | None = None, **more: Any) -> SagaId:
        """A saga that was just started; `order` and `traceparent` are as given."""
        tenant_id = tenant_id or self.tenant_id
        order = more.pop("order", None) or OrderId(uuid4())
        placed = OrderPlaced(
            order_id=order,
            shop_id=ShopId(uuid4()),
            lines=(OrderLine(sku="OATS", quantity=1),),
            total=100,
            placed_at=clock.now(),
            payment="tok-1",
        )
        await self.take(envelope(tenant_id, str(order), placed, **more), transaction)
        return saga_id("place-order", tenant_id, str(order))

    async def place_before(self, minutes: float) -> SagaId:
        """A saga that a process started whose clock is so many minutes behind."""
        then = clock.now() - timedelta(minutes=minutes)
        past = Transactions("sagas", self.api.transaction._pool, self.api.transaction.outbox, lambda _: None, lambda: then)
        return await self.place(past)

    async def answer(self, id: SagaId, *answers: Answer, tenant_id: TenantId | None = None) -> None:
        for step, phase, reply in answers:
            command = command_id(id, phase, step, 1)
            await self.take(envelope(tenant_id or self.tenant_id, "x", reply, sagaid=id, commandid=command))

    async def bring_to(self, state: State, tenant_id: TenantId | None = None) -> SagaId:
        """A saga that is in this state."""
        id = await self.place(tenant_id=tenant_id)
        await self.answer(id, *WAY_TO.get(state, ()), tenant_id=tenant_id)
        if state is State.PAUSED:
            assert (await self.act("pause", id)).status_code == 200
        assert (await self.show(id))["state"] == state
        return id

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.api.client.get(f"/v1/ops{path}", params=params, headers=self.operator)

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.api.call("POST", f"/v1/ops{path}", self.operator, body)

    async def show(self, id: UUID) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.get(f"/sagas/{id}")).json()
        return shown

    async def act(self, verb: str, id: UUID, reason: str = "a test", revision: int | None = None, **more: Any) -> httpx.Response:
        """The verb, at the revision that the saga has now if none is given."""
        revision = revision or (await self.show(id))["revision"]
        return await self.post(f"/sagas/{id}/{verb}", {"reason": reason, "revision": revision, **more})

    async def found(self, **filters: Any) -> list[str]:
        """Ids of this tenant's sagas that fit, in the order of the list."""
        answer = await self.get("/sagas", tenant=str(self.tenant_id), limit=200, **filters)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    async def audit(self, id: UUID) -> list[asyncpg.Record]:
        """Every attempt on this saga, whatever came of it."""
        return list(await self.administrator.fetch("SELECT * FROM sagas.operator_audit WHERE saga_id = $1 ORDER BY at, id", id))

    async def commands(self, id: SagaId) -> list[str]:
        """The types of what the saga has asked for."""
        rows = await self.administrator.fetch(
            "SELECT body::json->>'type' AS type FROM sagas.outbox WHERE body::json->>'sagaid' = $1", str(id)
        )
        return [row["type"] for row in rows]

    async def take(self, received: Envelope, transaction: Transactions | None = None) -> None:
        """The coordinator has handled this message."""
        await Batches(transaction or self.api.transaction, [self.coordinator.handles()]).commit([received])


def skipped(step: str) -> dict[str, Any]:
    """What `skip` supplies for this step of placing an order."""
    return {"reserve-stock": {"reservation_id": str(uuid4())}, "authorise-payment": {"payment_id": str(uuid4())}}.get(step, {})


@asynccontextmanager
async def at_the_desk(settings: Settings, home: Path, *, with_letters: bool = False) -> AsyncIterator[Desk]:
    """The coordinator's routes and the operators', in this process and on a port; those of dead letters if they are asked for."""
    verifier = Verifier(str(ensure_development_key(home)), settings.issuer, settings.audience)
    async with AsyncExitStack() as stack:
        transaction = await stack.enter_async_context(opened(settings, SERVICE.name))
        sweeper = open_pool(settings, SERVICE.name, "sweeper", 2)
        stack.push_async_callback(sweeper.dispose)
        administrator = await asyncpg.connect(settings.postgres_url)
        stack.push_async_callback(administrator.close)
        own, operators = SERVICE.router(transaction, settings), SERVICE.operators_router(transaction, sweeper, settings)
        assert own is not None
        assert operators is not None
        routers = {"sagas": own, "operators": operators}
        if with_letters:
            letters = open_pool(settings, "ops", "sweeper", 2)
            stack.push_async_callback(letters.dispose)
            routers["ops"] = ops_api.router(await stack.enter_async_context(opened(settings, "ops")), letters, settings)
        app = create_app("test", routers, verifier=verifier, registry=CollectorRegistry())
        client = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test"))
        url = await stack.enter_async_context(on_a_port(app, home))
        yield Desk(Api(client, settings, transaction, [], home), administrator, url, coordinator(settings))


def envelope(tenant_id: TenantId, subject: str, data: Message, **more: Any) -> Envelope:
    """The message as it arrives."""
    own: dict[str, Any] = {"id": uuid4(), "source": "/test", "type": name_of(type(data)), "subject": subject, "time": clock.now()}
    return Envelope(**own, tenantid=tenant_id, data=data, **more)
