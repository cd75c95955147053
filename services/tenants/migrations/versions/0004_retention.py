"""Messages that were handled long ago are forgotten."""

from alembic import op

from infra.schema import forget_messages

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE tenants_owner",
    *forget_messages("tenants"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
