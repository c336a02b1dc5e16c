"""Create identities: who is me."""

from __future__ import annotations

from alembic import op

revision = "0016_create_identities"
down_revision = "0015_create_pull_requests"

UP = """
CREATE TABLE identities (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    added_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT identities_pkey PRIMARY KEY (kind, value),
    CONSTRAINT chk_identities_kind CHECK (kind IN ('email', 'login'))
);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute("DROP TABLE identities")
