"""The whole platform on a real database and a network in trouble: one day of one or two tenants, told by a seed.

Real are the coordinator and its timers, the participants with their repositories, inbox, outbox, row-level security and the whole
consumer edge with its parking and its ladder. Simulated are the broker, the clock, and the end of processes.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import uuid4

from contracts.addresses import work_queues
from contracts.inventory import ProductListed, ShopOpened
from contracts.values import OrderId, OrderLine, OrderStatus, SagaId, TenantId, VatRate
from infra.batch import Batches
from infra.consumer import Consumer
from infra.handling import Handles
from infra.outbox import Outbox
from infra.service import Running
from infra.services import load
from infra.transaction import Transactions
from infra.unscoped.due import DueSaga
from sagas.consumers import coordinator
from sagas.engine.deadlines import Deadlines
from sagas.operating import Operating
from services.orders.consumers import HANDLES as ORDERS_HANDLES
from services.orders.placing import Placing
from services.orders.repository import lock_orders, save_orders
from services.orders.use_cases import AskedOrder, complete_order, prepare_order, ready_order
from services.payments.calling import Calls
from services.tenants.model import TenantStatus
from services.tenants.repository import add_tenant
from tests.conformance.places import add_stock, decide, envelope, new_tenant, shop_of
from tests.integration.network import Crash, Faults, Network
from tests.integration.people import People
from tests.integration.processes import SERVICES, Pools, Process, mortal
from tests.integration.purse import REFUSED_TOKEN, Purse

MORNING: Final = datetime(2020, 3, 2, 6, tzinfo=UTC)
SKUS: Final = ("APPLE", "PEAR")
PRICE_PENCE: Final = 100
TROUBLED_STEPS_MAX: Final = 20
QUIET_STEPS_MAX: Final = 400


@dataclass
class Shopkeeper:
    """One tenant, and the units of each SKU that its shop received."""

    tenant_id: TenantId
    received: dict[str, int]


class StillMoving(AssertionError):
    """A run did not come to rest on a platform that works."""

    def __init__(self, seed: int) -> None:
        super().__init__(f"seed {seed}: still moving after {QUIET_STEPS_MAX} steps on a platform that works")


class World:
    """One run. All that is random about it comes from the seed, but for ids."""

    def __init__(self, pools: Pools, seed: int) -> None:
        self.seed, self.random, self.now = seed, Random(seed), MORNING
        self.trouble = self.random.choice((0.1, 0.3, 0.5))
        self.faults = Faults(self.random)
        self.network = Network(self.faults)
        self._pools = pools
        self.transactions = {service: self._transactions(service) for service in SERVICES}
        handles = {service.name: [mortal(one, self.faults) for one in service.handles(pools.settings)] for service in load(())}
        self._processes = {queue: Process(self._consumer(queue, handles)) for queue in work_queues()}
        running = Running(self.transactions["sagas"], (), pools.sweeper, pools.settings, _no_backlog)
        sagas = coordinator(pools.settings)
        self._deadlines = Deadlines(sagas, running)
        self.purse = Purse(self.faults)
        # A provider that does not answer is asked again when the payment is due again: nobody waits in a simulated day.
        at_once = pools.settings.model_copy(update={"payment_tries_max": 1})
        self._calls = Calls(replace(running, transaction=self.transactions["payments"], settings=at_once), self.purse)
        # Sorted, because a batch visits its tenants in this order.
        tenants = sorted(TenantId(uuid4()) for _ in range(self.random.choice((1, 1, 2))))
        self.tenants = [Shopkeeper(tenant, {sku: self.random.randint(1, 4) for sku in SKUS}) for tenant in tenants]
        self.people = People(self.random, self.transactions, Operating(self.transactions["sagas"], sagas), tenants)

    async def run(self) -> "World":
        """Trouble for a while, then a platform that works, until nothing moves any more. Raises StillMoving."""
        try:
            await self._live()
        finally:
            for process in self._processes.values():
                await process.stop()
        return self

    async def _live(self) -> None:
        await self._open()
        self.faults.trouble = self.trouble
        for _ in range(self.random.randint(2, 5)):
            await self._place()
        for _ in range(self.random.randrange(TROUBLED_STEPS_MAX)):
            await self._disturb()
        self.faults.trouble = 0.0
        self.network.silent.clear()
        self.network.replay()
        await self._calm_down()
        if self.random.random() < 0.3:
            await self.people.cancel()
        await self._complete()
        # A copy that arrives or a letter that somebody replays when all is over must not harm either.
        self.network.let_stragglers_arrive()
        self.network.replay(all_of_them=self.random.random() < 0.5)
        await self._calm_down()
        for service in SERVICES:
            await self._forget_confirmed(service)

    async def _open(self) -> None:
        for tenant in self.tenants:
            suspended = self.random.random() < 0.1
            async with self.transactions["tenants"](tenant.tenant_id) as scope:
                row = new_tenant(scope, self.random.randint(1, 6), self.random.choice((400, 10_000)))
                if suspended:
                    row.become(TenantStatus.SUSPENDED, scope.now)
                await add_tenant(scope, row)
            async with self.transactions["inventory"](tenant.tenant_id) as scope:
                await add_stock(scope, shop_of(tenant.tenant_id), tenant.received)
            sold = {"price_pence": PRICE_PENCE, "vat_rate": VatRate.ZERO, "version": 1}
            known = [
                ShopOpened(shop_id=shop_of(tenant.tenant_id), name="Shop", accepts_by_hand=self.random.random() < 0.2),
                *(ProductListed(sku=sku, name=sku, **sold) for sku in SKUS),
            ]
            async with self.transactions["orders"](tenant.tenant_id) as scope:
                await decide(scope, ORDERS_HANDLES[1], [envelope(tenant.tenant_id, message) for message in known])

    # What happens

    async def _disturb(self) -> None:
        kinds = {"deliver": 60, "time": 5, "lose": 5, "silence": 4, "replay": 3, "sweep": 3, "complete": 4, "place": 3}
        kinds |= {"pay": 8, "decide": 4, "cancel": 4, "operate": 5}
        match self.random.choices(list(kinds), list(kinds.values()))[0]:
            case "deliver":
                if not await self._deliver():
                    await self._let_time_pass()
            case "time":
                await self._let_time_pass()
            case "lose":
                self.network.lose()
            case "silence":
                self.network.fall_silent()
            case "replay":
                self.network.replay()
            case "sweep":
                await self._sweep()
            case "complete":
                await self._complete()
            case "place":
                await self._place()
            case "pay":
                await self._pay()
            case "decide":
                await self.people.decide_acceptance()
            case "cancel":
                await self.people.cancel()
            case "operate":
                await self.people.operate()

    async def _calm_down(self) -> None:
        await self.people.resume_all()
        for _ in range(QUIET_STEPS_MAX):
            # A platform that works brings back what waits before any deadline counts.
            back = self.network.bring_back()
            if not (await self._deliver() or await self._sweep() or await self._pay() or await self._let_time_pass() or back):
                return
        raise StillMoving(self.seed)

    async def _place(self) -> None:
        tenant = self.random.choice(self.tenants)
        skus = self.random.sample(SKUS, self.random.randint(1, len(SKUS)))
        lines = tuple(OrderLine(sku=sku, quantity=self.random.randint(1, 2)) for sku in skus)
        self.now += timedelta(milliseconds=1)
        card = self.random.choice((None, None, None, "tok_ok", REFUSED_TOKEN))
        with suppress(Crash):
            await Placing(self.transactions["orders"]).place(tenant.tenant_id, AskedOrder(shop_of(tenant.tenant_id), lines, card))

    async def _complete(self) -> None:
        """The customer of some confirmed order has it."""
        tenant = self.random.choice(self.tenants)
        with suppress(Crash):
            async with self.transactions["orders"](tenant.tenant_id) as scope:
                rows = await scope.connection.fetch("SELECT order_id FROM orders.customer_order WHERE tenant_id = $1", tenant.tenant_id)
                book = await lock_orders(scope, [row["order_id"] for row in rows])
                order = next((one for _, one in sorted(book.orders.items()) if one.status is OrderStatus.CONFIRMED), None)
                if order is not None:
                    prepare_order(order)
                    ready_order(order)
                    scope.send(complete_order(order), subject=str(order.order_id), sequence=order.revision)
                    await save_orders(scope, book)

    async def _pay(self) -> bool:
        """Call the payment provider for whatever is due; False if nothing is."""
        found = False
        for tenant in self.tenants:
            query = "SELECT order_id FROM payments.payment WHERE tenant_id = $1 AND due_at <= $2 ORDER BY order_id"
            async with self.transactions["payments"](tenant.tenant_id) as scope:
                due = [OrderId(row["order_id"]) for row in await scope.connection.fetch(query, tenant.tenant_id, self.now)]
            for order_id in due:
                found = True
                with suppress(Crash):
                    # Not `run`: it finds due payments of all tenants, of other runs as well, and by the real clock.
                    await self._calls._bring_about(tenant.tenant_id, order_id)
        return found

    async def _deliver(self) -> bool:
        taken = self.network.take()
        if taken is None:
            return False
        queue, frames = taken
        self.now += timedelta(milliseconds=1)
        left = await self._processes[queue].settle(frames, self.faults)
        self.network.give_back(queue, left)
        self._tell(f"{queue}: {sum(len(frame.envelopes) for frame in frames)} envelopes, {len(left)} of {len(frames)} frames given back")
        return True

    async def _let_time_pass(self) -> bool:
        """On to the next deadline, or somewhat beyond."""
        wakes = {tenant.tenant_id: await self._wakes(tenant.tenant_id) for tenant in self.tenants}
        times = [time for sagas in wakes.values() for time in sagas.values()] + await self._payments_due()
        if not times:
            return self.network.bring_back()
        self.now = max(self.now, min(times)) + timedelta(seconds=self.random.choice((0, 0, 5, 25)))
        if self.random.random() < 0.5:
            self.network.silent.clear()
        self._tell(f"it is {self.now:%d %H:%M:%S}")
        self.network.bring_back()
        for tenant_id, sagas in wakes.items():
            if due := [DueSaga(tenant_id, id, time) for id, time in sagas.items() if time <= self.now]:
                with suppress(Crash):
                    # Not `look`: it finds due sagas of all tenants, of other runs as well, and by the real clock.
                    await self._deadlines.time_out(due)
        return True

    async def _wakes(self, tenant_id: TenantId) -> dict[SagaId, datetime]:
        query = "SELECT id, wake_at FROM sagas.saga WHERE tenant_id = $1 AND wake_at IS NOT NULL"
        async with self.transactions["sagas"](tenant_id) as scope:
            return {SagaId(row["id"]): row["wake_at"] for row in await scope.connection.fetch(query, tenant_id)}

    async def _payments_due(self) -> list[datetime]:
        query = "SELECT due_at FROM payments.payment WHERE tenant_id = $1 AND due_at IS NOT NULL"
        found = []
        for tenant in self.tenants:
            async with self.transactions["payments"](tenant.tenant_id) as scope:
                found += [row["due_at"] for row in await scope.connection.fetch(query, tenant.tenant_id)]
        return found

    async def _sweep(self) -> bool:
        """Publish what only the outboxes know of; False if that is nothing."""
        swept = False
        for service in [service for service, rows in self.network.unpublished.items() if rows]:
            await self._forget_confirmed(service)
            for tenant in self.tenants:
                ids = [id for tenant_id, id in self.network.unpublished[service] if tenant_id == tenant.tenant_id]
                if ids:
                    async with self.transactions[service](tenant.tenant_id) as scope:
                        rows = await self.transactions[service].outbox.read(scope.connection, tenant.tenant_id, ids)
                    assert len(rows) == len(ids), f"seed {self.seed}: {service} has lost rows of its outbox"
                    self.network.publish(service, rows)
                    self._tell(f"swept {len(rows)} rows of {service}")
                    swept = True
        return swept

    async def _forget_confirmed(self, service: str) -> None:
        if confirmed := self.network.confirmed.pop(service, None):
            await self._pools.rows[service].delete([(*key, created_at) for key, created_at in confirmed.items()])

    def _tell(self, what: str) -> None:
        self.network.told.append(what)

    # What it is made of

    def _transactions(self, service: str) -> Transactions:
        outbox = Outbox(service, self._pools.settings.resend_after_s)
        return Transactions(service, self._pools.app[service], outbox, lambda sent: self.network.hand_over(service, sent), lambda: self.now)

    def _consumer(self, queue: str, handles: dict[str, list[Handles]]) -> Callable[[], Consumer]:
        service, settings = queue.split(".")[0], self._pools.settings
        transaction, relay = self.transactions[service], self._pools.relay[service]
        return lambda: Consumer(queue, Batches(transaction, handles[service]), transaction, relay, settings)


async def _no_backlog(_queue: str) -> int:
    return 0
