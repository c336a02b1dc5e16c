"""Create embeddings: the vectors of achievements, and the themes found on them."""

from __future__ import annotations

from alembic import op

revision = "0009_create_embeddings"
down_revision = "0008_default_priority"

UP = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS vector;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
    RAISE EXCEPTION 'this database lacks pgvector 0.7 or newer (%); install it on the server, and let an administrator '
        'run in this database: CREATE EXTENSION vector', SQLERRM;
END
$$;

CREATE TABLE achievement_embeddings (
    achievement_id INTEGER NOT NULL,
    model TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    embedding HALFVEC NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT achievement_embeddings_pkey PRIMARY KEY (achievement_id),
    CONSTRAINT chk_achievement_embeddings_dimensions CHECK (vector_dims(embedding) = dimensions),
    CONSTRAINT fk_achievement_embeddings_achievement_id FOREIGN KEY(achievement_id)
        REFERENCES achievements (id) ON DELETE CASCADE
);

CREATE INDEX idx_achievement_embeddings_model ON achievement_embeddings (model);

CREATE TABLE achievement_themes (
    id INTEGER NOT NULL,
    label TEXT NOT NULL,
    words TEXT[] NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT achievement_themes_pkey PRIMARY KEY (id)
);

CREATE TABLE achievement_theme_members (
    achievement_id INTEGER NOT NULL,
    theme_id INTEGER NOT NULL,
    closeness DOUBLE PRECISION NOT NULL,
    CONSTRAINT achievement_theme_members_pkey PRIMARY KEY (achievement_id),
    CONSTRAINT chk_achievement_theme_members_closeness CHECK (closeness BETWEEN -1 AND 1),
    CONSTRAINT fk_achievement_theme_members_achievement_id FOREIGN KEY(achievement_id)
        REFERENCES achievements (id) ON DELETE CASCADE,
    CONSTRAINT fk_achievement_theme_members_theme_id FOREIGN KEY(theme_id)
        REFERENCES achievement_themes (id) ON DELETE CASCADE
);

CREATE INDEX idx_achievement_theme_members_theme_id ON achievement_theme_members (theme_id, closeness DESC);

-- An achievement's vector is due when its text is new or another; behind everything else, for it takes long.
CREATE FUNCTION mark_achievements() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO pending (asset, key, day, priority)
        SELECT 'achievement_embeddings', 'achievement:' || id, utc_day(coalesce(completed_at, created_at)), 2
        FROM new_rows ORDER BY 2
        ON CONFLICT (asset, key) DO UPDATE SET
            change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
            attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    ELSE
        INSERT INTO pending (asset, key, day, priority)
        SELECT 'achievement_embeddings', 'achievement:' || new_rows.id,
            utc_day(coalesce(new_rows.completed_at, new_rows.created_at)), 2
        FROM new_rows JOIN old_rows USING (id)
        WHERE (new_rows.title, new_rows.description) IS DISTINCT FROM (old_rows.title, old_rows.description)
        ORDER BY 2
        ON CONFLICT (asset, key) DO UPDATE SET
            change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
            attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER mark_inserted AFTER INSERT ON achievements
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_achievements();
CREATE TRIGGER mark_updated AFTER UPDATE ON achievements
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_achievements();

-- The themes are due as a whole when any vector came, changed or went.
CREATE FUNCTION mark_themes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (asset, key, day, priority)
    SELECT 'achievement_themes', 'themes:all', utc_day(now()), 2 WHERE EXISTS (SELECT FROM changed_rows)
    ON CONFLICT (asset, key) DO UPDATE SET
        change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
        attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER mark_inserted AFTER INSERT ON achievement_embeddings
REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_themes();
CREATE TRIGGER mark_updated AFTER UPDATE ON achievement_embeddings
REFERENCING NEW TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_themes();
CREATE TRIGGER mark_deleted AFTER DELETE ON achievement_embeddings
REFERENCING OLD TABLE AS changed_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_themes();

INSERT INTO pending (asset, key, day, priority)
SELECT 'achievement_embeddings', 'achievement:' || id, utc_day(coalesce(completed_at, created_at)), 2 FROM achievements;
"""

DOWN = """
DROP TABLE achievement_theme_members;
DROP TABLE achievement_themes;
DROP TABLE achievement_embeddings;
DROP TRIGGER mark_inserted ON achievements;
DROP TRIGGER mark_updated ON achievements;
DROP FUNCTION mark_achievements;
DROP FUNCTION mark_themes;
DELETE FROM pending WHERE asset IN ('achievement_embeddings', 'achievement_themes');

DO $$
BEGIN
    DROP EXTENSION vector;
EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist THEN
    NULL;  -- an administrator made it, or others in this database use it too
END
$$;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
