"""Orders with their lines, what inventory told about shops and products, and remembered answers."""

from alembic import op

from infra.schema import create_service, protect

revision = "0001"
down_revision = None

CUSTOMER_ORDER = """
    CREATE TABLE orders.customer_order (
        tenant_id uuid NOT NULL,
        order_id uuid NOT NULL,
        shop_id uuid NOT NULL,
        status text NOT NULL CHECK (status IN
            ('DRAFT', 'PENDING', 'CONFIRMED', 'PREPARING', 'READY', 'COMPLETED', 'CANCELLED', 'REJECTED')),
        rejection text CHECK (rejection IN ('OUT_OF_STOCK', 'OVER_QUOTA', 'TENANT_SUSPENDED', 'NO_ANSWER', 'FAULT', 'CANCELLED')),
        total_pence bigint NOT NULL CHECK (total_pence BETWEEN 0 AND 9007199254740991),
        vat_pence bigint NOT NULL CHECK (vat_pence BETWEEN 0 AND total_pence),
        revision bigint NOT NULL CHECK (revision >= 1),
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, order_id),
        CHECK ((status = 'REJECTED') = (rejection IS NOT NULL)))"""

ORDERS_BY_AGE = "CREATE INDEX customer_order_by_age ON orders.customer_order (tenant_id, created_at, order_id)"

# Few of many: the orders whose sagas are under way.
PENDING_ORDERS = """
    CREATE INDEX customer_order_pending ON orders.customer_order (tenant_id, created_at, order_id) WHERE status = 'PENDING'"""

ORDER_LINE = """
    CREATE TABLE orders.order_line (
        tenant_id uuid NOT NULL,
        order_id uuid NOT NULL,
        position integer NOT NULL CHECK (position >= 0),
        sku text NOT NULL CHECK (length(sku) BETWEEN 1 AND 64),
        name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
        quantity bigint NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
        unit_price_pence bigint NOT NULL CHECK (unit_price_pence BETWEEN 0 AND 9007199254740991),
        vat_rate text NOT NULL CHECK (vat_rate IN ('ZERO', 'REDUCED', 'STANDARD', 'EXEMPT')),
        total_pence bigint NOT NULL CHECK (total_pence BETWEEN 0 AND 9007199254740991),
        vat_pence bigint NOT NULL CHECK (vat_pence BETWEEN 0 AND total_pence),
        PRIMARY KEY (tenant_id, order_id, position),
        UNIQUE (tenant_id, order_id, sku),
        FOREIGN KEY (tenant_id, order_id) REFERENCES orders.customer_order,
        CONSTRAINT line_adds_up CHECK (total_pence::numeric = quantity::numeric * unit_price_pence))"""

SHOP = """
    CREATE TABLE orders.shop (
        tenant_id uuid NOT NULL,
        shop_id uuid NOT NULL,
        name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
        PRIMARY KEY (tenant_id, shop_id))"""

PRODUCT = """
    CREATE TABLE orders.product (
        tenant_id uuid NOT NULL,
        sku text NOT NULL CHECK (length(sku) BETWEEN 1 AND 64),
        version bigint NOT NULL CHECK (version >= 1),
        name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
        price_pence bigint NOT NULL CHECK (price_pence BETWEEN 0 AND 9007199254740991),
        vat_rate text NOT NULL CHECK (vat_rate IN ('ZERO', 'REDUCED', 'STANDARD', 'EXEMPT')),
        -- One bit for each of the 14 allergens that UK food law has declared, in the order of contracts.values.Allergen.
        allergen_mask integer NOT NULL CHECK (allergen_mask BETWEEN 0 AND 16383),
        PRIMARY KEY (tenant_id, sku))"""

# The key is the lock: of two requests with one key the second waits here until the first has committed.
IDEMPOTENCY = """
    CREATE TABLE orders.idempotency (
        tenant_id uuid NOT NULL,
        key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
        fingerprint text NOT NULL CHECK (length(fingerprint) = 64),
        order_id uuid NOT NULL,
        answer text NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, key))"""

GRANTS = {
    "customer_order": "SELECT, INSERT, UPDATE (status, rejection, revision, changed_at)",
    "order_line": "SELECT, INSERT",
    "shop": "SELECT, INSERT",
    "product": "SELECT, INSERT, UPDATE (version, name, price_pence, vat_rate, allergen_mask)",
    "idempotency": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in create_service("orders"):
        op.execute(statement)
    for statement in (CUSTOMER_ORDER, ORDERS_BY_AGE, PENDING_ORDERS, ORDER_LINE, SHOP, PRODUCT, IDEMPOTENCY):
        op.execute(statement)
    for table, grants in GRANTS.items():
        for statement in protect("orders", table, grants):
            op.execute(statement)
