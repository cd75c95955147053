"""Messages that were handled long ago are forgotten."""

from alembic import op

from infra.schema import forget_messages

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE payments_owner",
    *forget_messages("payments"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
