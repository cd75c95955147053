"""Shops in which somebody accepts or declines each order."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = [
    "SET LOCAL ROLE inventory_owner",
    # With a default: the release before this one still opens shops while it is replaced.
    "ALTER TABLE inventory.shop ADD COLUMN accepts_by_hand boolean NOT NULL DEFAULT false",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
