"""Create portfolio: what is ready, in its order, with the hash of each item as exports hold it."""

from __future__ import annotations

from alembic import op

revision = "0013_create_portfolio"
down_revision = "0012_notify_writes"

UP = """
CREATE TABLE portfolio (
    achievement_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    section TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    sealed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT portfolio_pkey PRIMARY KEY (achievement_id),
    CONSTRAINT fk_portfolio_achievement_id FOREIGN KEY(achievement_id) REFERENCES achievements (id) ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE portfolio")
