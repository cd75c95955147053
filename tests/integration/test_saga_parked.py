"""A bug at night costs nobody an order: hundreds of sagas wait as PARKED, are counted, and go on when somebody has mended it."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from contracts.addresses import dead_letter_queue
from contracts.inventory import ProductListed, ShopOpened
from contracts.values import OrderLine, VatRate
from infra import clock
from infra.database import open_pool
from infra.dev.ports import free_port
from infra.unscoped.sagas import SagaSearch
from sagas.consumers import coordinator
from sagas.engine.instance import State
from sagas.engine.verbs import Verb
from sagas.many import act_on_many
from sagas.operating import Act, Operating
from sagas.search import SagaFilter
from services.orders.consumers import HANDLES as ORDERS_HANDLES
from services.orders.placing import Placing
from services.orders.use_cases import AskedOrder
from services.orders.views import OrderView
from services.tenants.repository import add_tenant
from tests.conformance.places import decide, envelope, new_tenant, opened, shop_of
from tests.integration.messaging import COMMANDS, Stage, a_tenant, parts
from tests.integration.workers import oaas_worker, worker_process

MANY: Final = 150
SKU: Final = "poison"
FAULTY: Final = [sys.executable, "-m", "tests.system.faulty_worker", "inventory", SKU]
PATIENT: Final = {"OAAS_DEADLINE_FACTOR": "10"}
"""On a busy machine parking so many commands takes its time, and that is no silence."""
WAIT_S: Final = 90


@dataclass
class Night:
    """Everybody but inventory works."""

    stage: Stage
    sweeper: AsyncEngine
    metrics_url: str

    async def orders(self) -> Counter[str]:
        rows = await self.stage.rows("SELECT status, count(*) AS many FROM orders.customer_order GROUP BY status")
        return Counter({row["status"]: row["many"] for row in rows})

    async def gauge(self, name: str) -> float | None:
        """A sample as it is scraped, by its name with labels."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(self.metrics_url)).text
        found = re.search(rf"^{re.escape(name)} (.*)$", text, re.MULTILINE)
        return None if found is None else float(found[1])

    async def retry_all_parked(self) -> None:
        """As an operator does it who types a filter."""
        async with opened(self.stage.settings, "sagas") as transaction:
            operating = Operating(transaction, coordinator(self.stage.settings))
            search, as_of, after = SagaSearch("sagas", self.sweeper), clock.now(), None
            act = Act(Verb.RETRY, "ada", "the bug is mended")
            while True:
                done = await act_on_many(search, operating, SagaFilter(state=State.PARKED), as_of, after, act)
                if (after := done.following) is None:
                    return


@pytest.fixture
async def night(stage: Stage, tmp_path: Path) -> AsyncIterator[Night]:
    await stage.administrator.execute("TRUNCATE sagas.saga, sagas.saga_event, orders.customer_order, orders.order_line")
    port = free_port()
    sweeper = open_pool(stage.settings, "sagas", "sweeper", 2)
    # What operators ask again is in the outbox only, until it is swept.
    swept = {"OAAS_RESEND_AFTER_S": "1", "OAAS_METRICS_PORT": str(port)}
    async with worker_process(oaas_worker("orders", "tenants", "sagas"), stage.settings, tmp_path, **PATIENT, **swept):
        yield Night(stage, sweeper, f"http://127.0.0.1:{port}/metrics")
    await sweeper.dispose()


@pytest.mark.timeout(240)
async def test_hundreds_of_orders_that_met_a_bug_are_confirmed_once_it_is_mended(night: Night, tmp_path: Path) -> None:
    settings = night.stage.settings
    async with worker_process(FAULTY, settings, tmp_path, **PATIENT):
        await _place(night.stage, MANY)
        parked = 'oaas_sagas{saga="place-order",state="PARKED"}'
        await _until(lambda: night.gauge(parked), MANY)
        assert await night.orders() == {"PENDING": MANY}
        assert await night.stage.waiting(dead_letter_queue(COMMANDS.routing_key)) == MANY
    async with worker_process(oaas_worker("inventory"), settings, tmp_path, **PATIENT):
        await night.retry_all_parked()
        await _until(night.orders, {"CONFIRMED": MANY})
        await _until(lambda: night.gauge(parked), 0)


async def _place(stage: Stage, many: int) -> None:
    """So many orders of one tenant that may order them all."""
    async with parts(stage.settings) as inventory, parts(stage.settings, "orders") as orders:
        tenant_id = await a_tenant(inventory.transaction, **{SKU: many})
        async with opened(stage.settings, "tenants") as tenants, tenants(tenant_id) as scope:
            await add_tenant(scope, new_tenant(scope, many, 100 * many))
        known = (
            ShopOpened(shop_id=shop_of(tenant_id), name="Shop"),
            ProductListed(sku=SKU, version=1, name="Cake", price_pence=100, vat_rate=VatRate.ZERO),
        )
        async with orders.transaction(tenant_id) as scope:
            await decide(scope, ORDERS_HANDLES[1], [envelope(tenant_id, message) for message in known])
        asked = AskedOrder(shop_of(tenant_id), (OrderLine(sku=SKU, quantity=1),))
        for _ in range(many // 5):
            placed = await asyncio.gather(*(Placing(orders.transaction).place(tenant_id, asked) for _ in range(5)))
            assert all(isinstance(one, OrderView) for one in placed), placed


async def _until(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Poll until that is seen; fails with what was seen last."""
    end = asyncio.get_running_loop().time() + WAIT_S
    while (seen := await look()) != wanted:
        assert asyncio.get_running_loop().time() < end, f"after {WAIT_S} s still {seen}"
        await asyncio.sleep(0.1)
