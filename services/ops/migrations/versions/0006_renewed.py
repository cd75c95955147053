"""What is sent again while its outbox row is still there renews the row."""

from alembic import op

from infra.schema import renew_outbox

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE ops_owner",
    *renew_outbox("ops"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
