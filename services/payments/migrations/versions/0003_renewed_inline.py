"""What is sent again renews its outbox row; the tenant of a scope is read by an expression inside each statement, no longer by a call."""

from alembic import op

from infra.schema import inline_scope, renew_outbox

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE payments_owner",
    *renew_outbox("payments"),
    *inline_scope("payments"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
