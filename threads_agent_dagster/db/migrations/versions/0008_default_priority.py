"""Default the priority of pending rows to what their transaction says, so that triggers mark bulk work as such."""

from __future__ import annotations

from alembic import op

revision = "0008_default_priority"
down_revision = "0007_create_dashboard_metrics"

UP = """
ALTER TABLE pending ALTER COLUMN priority
SET DEFAULT COALESCE(NULLIF(current_setting('threads_agent.priority', true), ''), '1')::smallint;
"""

DOWN = "ALTER TABLE pending ALTER COLUMN priority SET DEFAULT 1;"


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
