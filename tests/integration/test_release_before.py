"""What the release before writes: while one takes the other's place, both work on the same tables, so its statements must go on working."""

from typing import Final
from uuid import uuid4

import pytest

from contracts.values import TenantId
from infra.settings import Settings
from tests.conformance.places import opened
from tests.integration.rows import AT

# Exactly as the first release has them, but for the values.
WRITES: Final = {
    "a saga": (
        "sagas",
        """INSERT INTO sagas.saga
            (tenant_id, id, name, version, subject, state, revision, started_by, instance, started_at, changed_at, wake_at, events)
        VALUES ($1, $2, 'place-order', 1, 'an order', 'COMPLETED', 1, '{}', '{}', $3, $3, NULL, 1)""",
    ),
    "a fact": (
        "sagas",
        """INSERT INTO sagas.saga_event (tenant_id, saga_id, number, kind, step, phase, attempt, detail, reply, trace_id, at)
        VALUES ($1, $2, 1, 'STARTED', NULL, NULL, NULL, '', NULL, NULL, $3)""",
    ),
    "an order": (
        "orders",
        """INSERT INTO orders.customer_order
            (tenant_id, order_id, shop_id, status, total_pence, vat_pence, revision, created_at, changed_at)
        VALUES ($1, $2, $2, 'PENDING', 1, 0, 1, $3, $3)""",
    ),
    "a shop of orders": ("orders", "INSERT INTO orders.shop (tenant_id, shop_id, name) SELECT $1, $2::uuid, $3::timestamptz::text"),
    "a shop": ("inventory", "INSERT INTO inventory.shop (tenant_id, shop_id, name, created_at) VALUES ($1, $2, 'x', $3)"),
    "a hold": (
        "tenants",
        """INSERT INTO tenants.quota_hold (tenant_id, order_id, step, state, created_at, changed_at)
        VALUES ($1, $2, 'reserve-quota', 'NEW', $3, $3)""",
    ),
}


@pytest.mark.parametrize("what", WRITES)
async def test_what_the_first_release_writes_is_taken(settings: Settings, what: str) -> None:
    service, statement = WRITES[what]
    async with opened(settings, service) as transaction, transaction(TenantId(uuid4())) as scope:
        await scope.connection.execute(statement, scope.tenant_id, uuid4(), AT)
