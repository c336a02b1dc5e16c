"""Search achievements: an index for what the search box asks."""

from __future__ import annotations

from alembic import op

revision = "0025_search_achievements"
down_revision = "0024_join_harm"

# Where the server lacks the extension (it comes with PostgreSQL, often as a package `contrib`), or its user may not
# create it, the search answers the same, only from every row. docs/achievements.md says how to add the index later.
UP = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE NOTICE 'this database lacks pg_trgm (%): the search of achievements will read every row', SQLERRM;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
        CREATE INDEX idx_achievements_search ON achievements USING gin ((title || ' ' || coalesce(description, '')
            || ' ' || coalesce(repository, '') || ' ' || coalesce(author_name, '') || ' ' || coalesce(author_login, '')
            || ' ' || coalesce(author_email, '')) gin_trgm_ops);
    END IF;
END
$$;
"""

DOWN = """
DROP INDEX IF EXISTS idx_achievements_search;

DO $$
BEGIN
    DROP EXTENSION IF EXISTS pg_trgm;
EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist THEN
    NULL;  -- an administrator made it, or others in this database use it too
END
$$;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
