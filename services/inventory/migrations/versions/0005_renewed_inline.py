"""What is sent again renews its outbox row; the tenant of a scope is read by an expression inside each statement, no longer by a call."""

from alembic import op

from infra.schema import inline_scope, renew_outbox

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE inventory_owner",
    *renew_outbox("inventory"),
    *inline_scope("inventory"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
