"""Stock, quota and ledger as one thing: something that has places, which an order asks for, gives back, or uses for good.

Each comes with its repository in memory or with the real one, so that one suite says what all six of them do.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol
from uuid import UUID, uuid4, uuid5

from contracts.catalog import name_of
from contracts.inventory import OutOfStock, ReleaseStock, ReserveStock, StockReserved
from contracts.messages import Envelope, Later, Message, Reply
from contracts.orders import OrderCompleted
from contracts.tenants import (
    ChargeOrder,
    OrderCharged,
    QuotaExceeded,
    QuotaReserved,
    RefundOrder,
    ReleaseQuota,
    ReserveQuota,
    SpendingLimitReached,
)
from contracts.values import OrderId, OrderLine, ShopId, TenantId, VatAmount, VatRate
from infra import clock
from infra.database import open_pool
from infra.handling import Handles
from infra.outbox import Outbox
from infra.settings import Settings
from infra.transaction import HandOver, Scope, Transactions
from services.inventory import consumers as inventory_consumers
from services.inventory import repository as inventory_repository
from services.inventory.model import Level, Product, Shop, Stock
from services.tenants import consumers as tenants_consumers
from services.tenants import repository as tenants_repository
from services.tenants.model import Tenant
from services.tenants.usage import Limits, Month
from tests.conformance.fakes.holds import Quotas, Shelves, in_memory

SKU: Final = "APPLE"
AMOUNT: Final = 250
PLACED_AT: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
MONTH: Final = Month("2026-11")

Enter = Callable[[TenantId], AbstractAsyncContextManager[Scope]]
Meanwhile = Callable[[], Awaitable[None]] | None


class Tally(NamedTuple):
    """Places by what they are used for."""

    free: int
    held: int
    used: int


class Participant(Protocol):
    """What the suite needs of a participant in a saga."""

    @property
    def granted(self) -> type[Reply]: ...
    @property
    def refused(self) -> type[Reply]: ...
    @property
    def handles(self) -> Handles: ...
    @property
    def enter(self) -> Enter: ...

    def ask(self, tenant_id: TenantId, order_id: OrderId, /) -> Message: ...
    def undo(self, order_id: OrderId) -> Message: ...
    async def stage(self, tenant_id: TenantId, places: int) -> None: ...
    async def tally(self, tenant_id: TenantId) -> Tally: ...


def envelope(tenant_id: TenantId, message: Message) -> Envelope:
    """The message as it arrives."""
    source, type_, subject = "/test", name_of(type(message)), "test"
    return Envelope(id=uuid4(), source=source, type=type_, subject=subject, time=PLACED_AT, tenantid=tenant_id, data=message)


async def answers(participant: Participant, tenant_id: TenantId, messages: Sequence[Message]) -> list[Reply | None]:
    """What the participant answers to one group of messages, committed."""
    received = [envelope(tenant_id, message) for message in messages]
    async with participant.enter(tenant_id) as scope:
        return await decide(scope, participant.handles, received)


async def decide(scope: Scope, handles: Handles, received: Sequence[Envelope], once_loaded: Meanwhile = None) -> list[Reply | None]:
    """Load, wait for whatever is to happen in between, decide each, save."""
    state = await handles.repository.load(scope, received)
    if once_loaded is not None:
        await once_loaded()
    replies = []
    for one in received:
        reply = handles.decide[type(one.data)](one, state)
        assert not isinstance(reply, Later), f"{one.type} is answered later"
        replies.append(reply)
    await handles.repository.save(scope, state)
    return replies


@asynccontextmanager
async def opened(settings: Settings, service: str, hand_over: HandOver = lambda _: None) -> AsyncIterator[Transactions]:
    """The service's transactions on a real database; what they send goes to `hand_over` instead of to a broker."""
    pool = open_pool(settings, service, "app", 6)
    try:
        yield Transactions(service, pool, Outbox(service, settings.resend_after_s), hand_over, clock.now)
    finally:
        await pool.dispose()


def shop_of(tenant_id: TenantId) -> ShopId:
    return ShopId(uuid5(tenant_id, "shop"))


@dataclass
class StockOf:
    """Inventory: a place is one unit of one SKU in the tenant's shop."""

    enter: Enter
    handles: Handles = inventory_consumers.HANDLES[0]
    granted: type[Reply] = StockReserved
    refused: type[Reply] = OutOfStock

    def ask(self, tenant_id: TenantId, order_id: OrderId, /) -> Message:
        return ReserveStock(order_id=order_id, shop_id=shop_of(tenant_id), lines=(OrderLine(sku=SKU, quantity=1),))

    def undo(self, order_id: OrderId) -> Message:
        return ReleaseStock(order_id=order_id)

    async def stage(self, tenant_id: TenantId, places: int) -> None:
        async with self.enter(tenant_id) as scope:
            await add_stock(scope, shop_of(tenant_id), {SKU: places})

    async def tally(self, tenant_id: TenantId) -> Tally:
        async with self.enter(tenant_id) as scope:
            stock = await inventory_repository.find_stock(scope, shop_of(tenant_id), SKU)
        assert stock is not None
        return Tally(stock.available, stock.held, stock.consumed)


class StockInMemory(StockOf):
    """Inventory with its repository in memory."""

    def __init__(self) -> None:
        self.shelves = Shelves()
        super().__init__(in_memory, replace(inventory_consumers.HANDLES[0], repository=self.shelves))

    async def stage(self, tenant_id: TenantId, places: int) -> None:
        level = Level(shop_of(tenant_id), SKU, places, 0, 0)
        self.shelves.levels[tenant_id] = {(shop_of(tenant_id), SKU): level}

    async def tally(self, tenant_id: TenantId) -> Tally:
        level = self.shelves.levels[tenant_id][shop_of(tenant_id), SKU]
        return Tally(level.available, level.held, level.consumed)


@dataclass
class QuotaOf:
    """Tenants: a place is one order of the month with its amount."""

    enter: Enter
    handles: Handles = tenants_consumers.HANDLES[0]
    granted: type[Reply] = QuotaReserved
    refused: type[Reply] = QuotaExceeded

    def ask(self, _tenant_id: TenantId, order_id: OrderId, /) -> Message:
        return ReserveQuota(order_id=order_id, amount=AMOUNT, placed_at=PLACED_AT)

    def undo(self, order_id: OrderId) -> Message:
        return ReleaseQuota(order_id=order_id)

    async def stage(self, tenant_id: TenantId, places: int) -> None:
        async with self.enter(tenant_id) as scope:
            await tenants_repository.add_tenant(scope, new_tenant(scope, places, places * AMOUNT))

    async def tally(self, tenant_id: TenantId) -> Tally:
        async with self.enter(tenant_id) as scope:
            tenant, usage = await tenants_repository.find_tenant(scope), await tenants_repository.find_usage(scope, MONTH)
        assert tenant is not None
        assert usage.pence_held == usage.orders_held * AMOUNT
        assert usage.pence_settled == usage.orders_settled * AMOUNT
        return Tally(tenant.orders_per_month - usage.orders_held - usage.orders_settled, usage.orders_held, usage.orders_settled)


class QuotaInMemory(QuotaOf):
    """Tenants with their repository in memory."""

    def __init__(self) -> None:
        self.quotas = Quotas()
        super().__init__(in_memory, replace(tenants_consumers.HANDLES[0], repository=self.quotas))

    async def stage(self, tenant_id: TenantId, places: int) -> None:
        self.quotas.limits[tenant_id] = Limits(places, places * AMOUNT)

    async def tally(self, tenant_id: TenantId) -> Tally:
        used = self.quotas.months.get(tenant_id, {}).get(MONTH)
        places = self.quotas.limits[tenant_id].orders_per_month
        return (
            Tally(places, 0, 0)
            if used is None
            else Tally(places - used.orders_held - used.orders_settled, used.orders_held, used.orders_settled)
        )


AMOUNTS: Final = (VatAmount(rate=VatRate.STANDARD, total=120, vat=20), VatAmount(rate=VatRate.ZERO, total=AMOUNT - 120, vat=0))


@dataclass
class LedgerOf(QuotaOf):
    """Tenants: a place is the amount of one order under the spending limit. An order's completion is nothing to the ledger."""

    granted: type[Reply] = OrderCharged
    refused: type[Reply] = SpendingLimitReached

    def ask(self, _tenant_id: TenantId, order_id: OrderId, /) -> Message:
        return ChargeOrder(order_id=order_id, total=AMOUNT, amounts=AMOUNTS, placed_at=PLACED_AT)

    def undo(self, order_id: OrderId) -> Message:
        return RefundOrder(order_id=order_id)

    async def stage(self, tenant_id: TenantId, places: int) -> None:
        async with self.enter(tenant_id) as scope:
            # No order may be held: the ledger does not ask for the number of orders.
            await tenants_repository.add_tenant(scope, new_tenant(scope, 0, places * AMOUNT))

    async def tally(self, tenant_id: TenantId) -> Tally:
        async with self.enter(tenant_id) as scope:
            tenant, usage = await tenants_repository.find_tenant(scope), await tenants_repository.find_usage(scope, MONTH)
            entered = await tenants_repository.list_transactions(scope, None, None, 1000)
        assert tenant is not None
        net = usage.pence_charged - usage.pence_refunded
        assert net == sum(entry.amount_pence for entry in entered)
        return Tally((tenant.spending_limit_pence - net) // AMOUNT, net // AMOUNT, 0)


class LedgerInMemory(LedgerOf):
    """The ledger with its repository in memory."""

    def __init__(self) -> None:
        self.quotas = Quotas()
        super().__init__(in_memory, replace(tenants_consumers.HANDLES[0], repository=self.quotas))

    async def stage(self, tenant_id: TenantId, places: int) -> None:
        self.quotas.limits[tenant_id] = Limits(0, places * AMOUNT)

    async def tally(self, tenant_id: TenantId) -> Tally:
        net = sum(entry.amount_pence for entry in self.quotas.entries.get(tenant_id, ()))
        return Tally((self.quotas.limits[tenant_id].spending_limit_pence - net) // AMOUNT, net // AMOUNT, 0)


async def add_stock(scope: Scope, shop_id: UUID, available: dict[str, int]) -> None:
    """A shop with so many units of each SKU."""
    now = scope.now
    await inventory_repository.add_shop(scope, Shop(tenant_id=scope.tenant_id, shop_id=shop_id, name="Shop", created_at=now))
    for sku, units in available.items():
        await inventory_repository.add_product(scope, new_product(scope, sku))
        stock: Stock = await inventory_repository.stock_to_change(scope, shop_id, sku)
        stock.count(units, now)


def new_product(scope: Scope, sku: str) -> Product:
    """A product whose details do not matter."""
    return Product(
        tenant_id=scope.tenant_id,
        sku=sku,
        version=1,
        name=sku.title(),
        price_pence=100,
        vat_rate="ZERO",
        allergen_mask=0,
        ingredients=[],
        created_at=scope.now,
        changed_at=scope.now,
    )


def new_tenant(scope: Scope, orders_per_month: int, spending_limit_pence: int) -> Tenant:
    """The scope's tenant with these limits."""
    return Tenant(
        tenant_id=scope.tenant_id,
        name="Tenant",
        orders_per_month=orders_per_month,
        spending_limit_pence=spending_limit_pence,
        created_at=scope.now,
        changed_at=scope.now,
    )


def completed(order_id: OrderId) -> OrderCompleted:
    return OrderCompleted(order_id=order_id)
