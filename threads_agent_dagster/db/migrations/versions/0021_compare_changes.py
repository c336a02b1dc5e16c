"""Compare old and new changes of the queue as sets, whose cost grows with the rows and not with their square."""

from __future__ import annotations

from alembic import op

revision = "0021_compare_changes"
down_revision = "0020_create_emotion_effects"

# PL/pgSQL keeps the plan that suited its session's first statement: a join planned for one row is a nested loop, which
# took seconds for the heartbeat of some thousand rows.
MOVED = "SELECT asset, key, change FROM new_rows EXCEPT SELECT asset, key, change FROM old_rows"
MOVED_BEFORE = "SELECT asset FROM new_rows JOIN old_rows USING (asset, key) WHERE new_rows.change <> old_rows.change"


def _function(moved: str) -> str:
    return f"""
CREATE OR REPLACE FUNCTION notify_pending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_notify('pending', asset) FROM (SELECT DISTINCT asset FROM new_rows) AS marked;
    ELSE
        PERFORM pg_notify('pending', asset) FROM (SELECT DISTINCT asset FROM ({moved}) AS moved) AS marked;
    END IF;
    RETURN NULL;
END
$$;
"""


def upgrade() -> None:
    op.execute(_function(MOVED))


def downgrade() -> None:
    op.execute(_function(MOVED_BEFORE))
