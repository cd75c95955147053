"""Shops, products, stock, and the holds that orders have on it."""

from alembic import op

from infra.schema import create_service, protect

revision = "0001"
down_revision = None

SHOP = """
    CREATE TABLE inventory.shop (
        tenant_id uuid NOT NULL,
        shop_id uuid NOT NULL,
        name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
        created_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, shop_id))"""

SHOPS_BY_AGE = "CREATE INDEX shop_by_age ON inventory.shop (tenant_id, created_at, shop_id)"

PRODUCT = """
    CREATE TABLE inventory.product (
        tenant_id uuid NOT NULL,
        sku text NOT NULL CHECK (length(sku) BETWEEN 1 AND 64),
        version bigint NOT NULL CHECK (version >= 1),
        name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
        price_pence bigint NOT NULL CHECK (price_pence BETWEEN 0 AND 9007199254740991),
        vat_rate text NOT NULL CHECK (vat_rate IN ('ZERO', 'REDUCED', 'STANDARD', 'EXEMPT')),
        -- One bit for each of the 14 allergens that UK food law has declared, in the order of contracts.values.Allergen.
        allergen_mask integer NOT NULL CHECK (allergen_mask BETWEEN 0 AND 16383),
        ingredients text[] NOT NULL CHECK (cardinality(ingredients) <= 100),
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, sku))"""

STOCK = """
    CREATE TABLE inventory.stock (
        tenant_id uuid NOT NULL,
        shop_id uuid NOT NULL,
        sku text NOT NULL,
        available bigint NOT NULL CHECK (available >= 0),
        held bigint NOT NULL CHECK (held >= 0),
        consumed bigint NOT NULL CHECK (consumed >= 0),
        received bigint NOT NULL CHECK (received >= 0),
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, shop_id, sku),
        FOREIGN KEY (tenant_id, shop_id) REFERENCES inventory.shop,
        FOREIGN KEY (tenant_id, sku) REFERENCES inventory.product,
        -- Nothing is ever lost or made: every unit received is on the shelf, promised to an order, or gone with one.
        CONSTRAINT stock_is_conserved CHECK (available + held + consumed = received))"""

# Ask and undo of an order write the same row, so that whichever comes second waits for the first and sees what it did.
STOCK_HOLD = """
    CREATE TABLE inventory.stock_hold (
        tenant_id uuid NOT NULL,
        order_id uuid NOT NULL,
        step text NOT NULL CHECK (length(step) BETWEEN 1 AND 64),
        state text NOT NULL CHECK (state IN ('NEW', 'HELD', 'WITHDRAWN', 'CONSUMED')),
        shop_id uuid,
        reservation_id uuid,
        created_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (tenant_id, order_id, step),
        CHECK ((shop_id IS NULL) = (reservation_id IS NULL)),
        CHECK (state NOT IN ('HELD', 'CONSUMED') OR shop_id IS NOT NULL),
        CHECK (state <> 'NEW' OR shop_id IS NULL))"""

STOCK_HOLD_LINE = """
    CREATE TABLE inventory.stock_hold_line (
        tenant_id uuid NOT NULL,
        order_id uuid NOT NULL,
        step text NOT NULL,
        sku text NOT NULL,
        quantity bigint NOT NULL CHECK (quantity >= 1),
        PRIMARY KEY (tenant_id, order_id, step, sku),
        FOREIGN KEY (tenant_id, order_id, step) REFERENCES inventory.stock_hold)"""

GRANTS = {
    "shop": "SELECT, INSERT",
    "product": "SELECT, INSERT, UPDATE (version, name, price_pence, vat_rate, allergen_mask, ingredients, changed_at)",
    "stock": "SELECT, INSERT, UPDATE (available, held, consumed, received, changed_at)",
    "stock_hold": "SELECT, INSERT, UPDATE (state, shop_id, reservation_id, changed_at)",
    "stock_hold_line": "SELECT, INSERT",
}


def upgrade() -> None:
    for statement in create_service("inventory"):
        op.execute(statement)
    for statement in (SHOP, SHOPS_BY_AGE, PRODUCT, STOCK, STOCK_HOLD, STOCK_HOLD_LINE):
        op.execute(statement)
    for table, grants in GRANTS.items():
        for statement in protect("inventory", table, grants):
            op.execute(statement)
