"""The API sees how many orders are under way, in which tenants, and nothing else about them."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = [
    "SET LOCAL ROLE orders_owner",
    "GRANT SELECT (status, acceptance, paid_by_card, created_at) ON orders.customer_order TO orders_sweeper",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
