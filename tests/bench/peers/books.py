"""The peers' books: tables, and each step of the work as one statement, which is one transaction.

Standard library only: the peers' own interpreters, which have none of our dependencies, read this as well. There is neither row-level
security nor a role per service, no history and no inbox, and each step is one round trip: all in the peers' favour. A step that is
repeated runs into the order's own row and changes nothing, so each is done exactly once, however often it is tried.
"""

from typing import Final

from tests.bench.workload import QUOTA_PENCE, UNITS_RECEIVED, Work

POSTGRES: Final = "PEER_POSTGRES"
"""The variable with the database's URL."""

# Rows that are updated all the time leave room in their pages, so that no index is touched.
TABLES: Final = """
    CREATE SCHEMA orders; CREATE SCHEMA inventory; CREATE SCHEMA tenants;
    CREATE TABLE orders.customer_order (
        order_id bigint PRIMARY KEY, tenant int NOT NULL, sku int NOT NULL, quantity int NOT NULL, pence bigint NOT NULL,
        status text NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp()) WITH (fillfactor = 70);
    CREATE TABLE inventory.stock (
        tenant int, sku int, available bigint NOT NULL CHECK (available >= 0), held bigint NOT NULL CHECK (held >= 0),
        received bigint NOT NULL, PRIMARY KEY (tenant, sku)) WITH (fillfactor = 40);
    CREATE TABLE inventory.reservation (
        order_id bigint PRIMARY KEY, tenant int NOT NULL, sku int NOT NULL, quantity int NOT NULL);
    CREATE TABLE tenants.quota (
        tenant int PRIMARY KEY, pence bigint NOT NULL CHECK (pence >= 0), orders_held bigint NOT NULL, pence_held bigint NOT NULL)
        WITH (fillfactor = 10);
    CREATE TABLE tenants.reservation (order_id bigint PRIMARY KEY, tenant int NOT NULL, pence bigint NOT NULL);"""
STOCK: Final = f"""
    INSERT INTO inventory.stock SELECT tenant, sku, {UNITS_RECEIVED}, 0, {UNITS_RECEIVED}
    FROM generate_series(0, $1 - 1) AS tenant, generate_series(0, $2 - 1) AS sku"""
QUOTAS: Final = f"INSERT INTO tenants.quota SELECT tenant, {QUOTA_PENCE}, 0, 0 FROM generate_series(0, $1 - 1) AS tenant"

CREATE: Final = """
    INSERT INTO orders.customer_order (order_id, tenant, sku, quantity, pence, status)
    VALUES ($1, $2, $3, $4, $5, 'PENDING') ON CONFLICT DO NOTHING"""
RESERVE_STOCK: Final = """
    WITH taken AS (
        UPDATE inventory.stock SET available = available - $4, held = held + $4
        WHERE tenant = $2 AND sku = $3 AND available >= $4 RETURNING 1)
    INSERT INTO inventory.reservation (order_id, tenant, sku, quantity) SELECT $1, $2, $3, $4 FROM taken RETURNING 1"""
RESERVE_QUOTA: Final = """
    WITH taken AS (
        UPDATE tenants.quota SET pence = pence - $3, pence_held = pence_held + $3, orders_held = orders_held + 1
        WHERE tenant = $2 AND pence >= $3 RETURNING 1)
    INSERT INTO tenants.reservation (order_id, tenant, pence) SELECT $1, $2, $3 FROM taken RETURNING 1"""
CONFIRM: Final = "UPDATE orders.customer_order SET status = 'CONFIRMED' WHERE order_id = $1 AND status = 'PENDING'"
RELEASE_STOCK: Final = """
    WITH gone AS (DELETE FROM inventory.reservation WHERE order_id = $1 RETURNING tenant, sku, quantity)
    UPDATE inventory.stock SET available = available + quantity, held = held - quantity
    FROM gone WHERE stock.tenant = gone.tenant AND stock.sku = gone.sku"""
REJECT: Final = "UPDATE orders.customer_order SET status = 'REJECTED' WHERE order_id = $1 AND status = 'PENDING'"


def created(work: Work) -> tuple[int, int, int, int, int]:
    """What CREATE is given."""
    return work.number, work.tenant, work.sku, work.quantity, work.pence


def of_stock(work: Work) -> tuple[int, int, int, int]:
    """What RESERVE_STOCK is given."""
    return work.number, work.tenant, work.sku, work.quantity


def of_quota(work: Work) -> tuple[int, int, int]:
    """What RESERVE_QUOTA is given."""
    return work.number, work.tenant, work.pence
