"""The tenant of a scope is read by an expression inside each statement, no longer by a call."""

from alembic import op

from infra.schema import inline_scope

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE inventory_owner",
    *inline_scope("inventory"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
