"""What mending a finding does, and what somebody has to agree to before it is done."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The default is for findings that are there already: they are written anew when the books are compared next.
STATEMENTS = [
    "SET LOCAL ROLE ops_owner",
    "ALTER TABLE ops.finding ADD COLUMN mending text NOT NULL DEFAULT '', ADD COLUMN confirm text",
    "GRANT UPDATE (mending, confirm) ON ops.finding TO ops_app",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
