"""Messages that were handled long ago are forgotten."""

from alembic import op

from infra.schema import forget_messages

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE sagas_owner",
    *forget_messages("sagas"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
