"""Index recent posts: whoever writes a hook looks at the newest ones of the persona."""

from __future__ import annotations

from alembic import op

revision = "0023_index_recent_posts"
down_revision = "0022_create_hook_predictions"


def upgrade() -> None:
    op.execute("CREATE INDEX idx_posts_persona_ts ON posts (persona_id, ts DESC)")


def downgrade() -> None:
    op.execute("DROP INDEX idx_posts_persona_ts")
