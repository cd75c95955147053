"""The tenant of a scope is read by an expression inside each statement, no longer by a call."""

from alembic import op

from infra.schema import inline_scope

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = [
    "SET LOCAL ROLE sagas_owner",
    *inline_scope("sagas"),
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
