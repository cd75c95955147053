"""What is sent again while its outbox row is still there renews the row."""

from alembic import op

from infra.schema import renew_outbox

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE inventory_owner",
    *renew_outbox("inventory"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
