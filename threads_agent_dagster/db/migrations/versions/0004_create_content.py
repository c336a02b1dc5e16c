"""Create content."""

from __future__ import annotations

from alembic import op

revision = "0004_create_content"
down_revision = "0003_create_experiments"

UP = """
CREATE TABLE personas (
    id VARCHAR(50) NOT NULL,
    name TEXT NOT NULL,
    voice TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT personas_pkey PRIMARY KEY (id)
);


CREATE TABLE tasks (
    id BIGSERIAL NOT NULL,
    type VARCHAR(50) NOT NULL,
    payload JSONB NOT NULL,
    priority SMALLINT DEFAULT 1 NOT NULL,
    status VARCHAR(20) DEFAULT 'queued' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    error_message TEXT,
    retry_count INTEGER DEFAULT 0 NOT NULL,
    import_id BIGINT,
    CONSTRAINT tasks_pkey PRIMARY KEY (id),
    CONSTRAINT chk_tasks_status CHECK (status IN ('queued', 'processing', 'completed', 'failed')),
    CONSTRAINT chk_tasks_type CHECK (type IN ('content.generation', 'achievement.analysis', 'emotion.analysis')),
    CONSTRAINT fk_tasks_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE CASCADE
);

CREATE INDEX idx_tasks_import_id ON tasks (import_id) WHERE import_id IS NOT NULL;
CREATE INDEX idx_tasks_status ON tasks (status, created_at);

CREATE TABLE posts (
    id BIGSERIAL NOT NULL,
    persona_id VARCHAR(50) NOT NULL,
    hook TEXT NOT NULL,
    body TEXT NOT NULL,
    tokens_used INTEGER,
    ts TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    engagement_rate DOUBLE PRECISION,
    original_input TEXT,
    metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
    task_id BIGINT,
    variant_id VARCHAR(100),
    import_id BIGINT,
    generator TEXT,
    edited_at TIMESTAMP WITH TIME ZONE,
    edited_by TEXT,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT posts_pkey PRIMARY KEY (id),
    CONSTRAINT fk_posts_persona_id FOREIGN KEY(persona_id) REFERENCES personas (id),
    CONSTRAINT uq_posts_task_id UNIQUE (task_id),
    CONSTRAINT fk_posts_task_id FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE SET NULL,
    CONSTRAINT fk_posts_variant_id FOREIGN KEY(variant_id) REFERENCES variants (variant_id) ON DELETE SET NULL,
    CONSTRAINT fk_posts_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE CASCADE
);

CREATE INDEX idx_posts_engagement ON posts (engagement_rate DESC);
CREATE INDEX idx_posts_import_id ON posts (import_id) WHERE import_id IS NOT NULL;
CREATE INDEX idx_posts_persona ON posts (persona_id);
CREATE INDEX idx_posts_ts ON posts (ts DESC);
CREATE INDEX idx_posts_variant_id ON posts (variant_id) WHERE variant_id IS NOT NULL;

CREATE TABLE engagement_snapshots (
    id BIGSERIAL NOT NULL,
    event_id TEXT NOT NULL,
    post_id BIGINT NOT NULL,
    impressions BIGINT NOT NULL,
    engagements BIGINT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT engagement_snapshots_pkey PRIMARY KEY (id),
    CONSTRAINT chk_engagement_snapshots_counts CHECK (impressions >= 0 AND engagements >= 0),
    CONSTRAINT uq_engagement_snapshots_event_id UNIQUE (event_id),
    CONSTRAINT fk_engagement_snapshots_post_id FOREIGN KEY(post_id) REFERENCES posts (id) ON DELETE CASCADE
);

CREATE INDEX idx_engagement_snapshots_post ON engagement_snapshots (post_id, observed_at DESC);

CREATE TABLE post_engagement (
    post_id BIGINT NOT NULL,
    persona_id VARCHAR(50) NOT NULL,
    day DATE NOT NULL,
    snapshot_id BIGINT NOT NULL,
    impressions BIGINT NOT NULL,
    engagements BIGINT NOT NULL,
    engagement_rate DOUBLE PRECISION,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT post_engagement_pkey PRIMARY KEY (post_id),
    CONSTRAINT fk_post_engagement_post_id FOREIGN KEY(post_id) REFERENCES posts (id) ON DELETE CASCADE,
    CONSTRAINT fk_post_engagement_snapshot_id FOREIGN KEY(snapshot_id)
        REFERENCES engagement_snapshots (id) ON DELETE CASCADE
);

INSERT INTO personas (id, name, voice) VALUES ('default', 'Default', 'Plain and factual: what happened, in order.');

-- A post's arc is due when its text appears or changes.
CREATE FUNCTION mark_posts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO pending (asset, key, day)
        SELECT 'emotion_trajectories', 'post:' || id, utc_day(ts) FROM new_rows ORDER BY 2
        ON CONFLICT (asset, key) DO UPDATE SET
        change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
        attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    ELSE
        INSERT INTO pending (asset, key, day)
        SELECT 'emotion_trajectories', 'post:' || new_rows.id, utc_day(new_rows.ts)
        FROM new_rows JOIN old_rows USING (id)
        WHERE (new_rows.hook, new_rows.body) IS DISTINCT FROM (old_rows.hook, old_rows.body)
        ORDER BY 2
        ON CONFLICT (asset, key) DO UPDATE SET
        change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
        attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER mark_inserted AFTER INSERT ON posts
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_posts();
CREATE TRIGGER mark_updated AFTER UPDATE ON posts
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_posts();

-- A post's engagement is due when a new snapshot of it arrives.
CREATE FUNCTION mark_engagement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (asset, key, day)
    SELECT DISTINCT 'post_engagement', 'post:' || posts.id, utc_day(posts.ts)
    FROM new_rows JOIN posts ON posts.id = new_rows.post_id
    ORDER BY 2
    ON CONFLICT (asset, key) DO UPDATE SET
        change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
        attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER mark_inserted AFTER INSERT ON engagement_snapshots
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_engagement();
"""

DOWN = """
DROP TABLE post_engagement;
DROP TABLE engagement_snapshots;
DROP TABLE posts;
DROP TABLE tasks;
DROP TABLE personas;
DROP FUNCTION mark_posts;
DROP FUNCTION mark_engagement;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
