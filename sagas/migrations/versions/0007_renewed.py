"""What is sent again while its outbox row is still there renews the row."""

from alembic import op

from infra.schema import renew_outbox

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE sagas_owner",
    *renew_outbox("sagas"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
