"""What is sent again while its outbox row is still there renews the row."""

from alembic import op

from infra.schema import renew_outbox

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE payments_owner",
    *renew_outbox("payments"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
