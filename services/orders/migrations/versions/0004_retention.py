"""Messages that were handled long ago are forgotten, and so are keys of requests."""

from alembic import op

from infra.schema import forget, forget_messages

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE orders_owner",
    *forget_messages("orders"),
    *forget("orders", "idempotency", "created_at"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
