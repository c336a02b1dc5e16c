"""Name who holds a claim, so that the claims of the dead can be told from those of the living."""

from __future__ import annotations

from alembic import op

revision = "0018_name_holders"
down_revision = "0017_deliver_outbox"

UP = "ALTER TABLE pending ADD COLUMN holder INTEGER;"

DOWN = "ALTER TABLE pending DROP COLUMN holder;"


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
