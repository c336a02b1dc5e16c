"""Create achievements."""

from __future__ import annotations

from alembic import op

revision = "0006_create_achievements"
down_revision = "0005_create_emotions"

UP = """
CREATE TYPE achievement_category AS ENUM (
    'feature', 'optimization', 'bugfix', 'infrastructure', 'documentation', 'testing', 'security', 'performance',
    'architecture', 'content', 'business', 'milestone'
);

CREATE TYPE source_type_enum AS ENUM (
    'git', 'github', 'github_pr', 'ci', 'manual', 'api', 'threads', 'prometheus', 'webhook'
);

CREATE TABLE achievements (
    id SERIAL NOT NULL,
    title VARCHAR(255) NOT NULL,
    description TEXT,
    category achievement_category NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    duration_hours DOUBLE PRECISION GENERATED ALWAYS AS
    (EXTRACT(EPOCH FROM (completed_at - started_at)) / 3600) STORED,
    impact_score DOUBLE PRECISION,
    complexity_score DOUBLE PRECISION,
    business_value JSONB,
    time_saved_hours DOUBLE PRECISION,
    performance_improvement_pct DOUBLE PRECISION,
    source_type source_type_enum NOT NULL,
    source_key TEXT DEFAULT 'manual:' || gen_random_uuid() NOT NULL,
    source_id VARCHAR(255),
    source_url VARCHAR(500),
    repository TEXT,
    merge_sha TEXT,
    author_name TEXT,
    author_email TEXT,
    author_login TEXT,
    portfolio_ready BOOLEAN DEFAULT false NOT NULL,
    portfolio_section VARCHAR(100),
    display_priority INTEGER DEFAULT 50 NOT NULL,
    linkedin_post_id VARCHAR(255),
    linkedin_published_at TIMESTAMP WITH TIME ZONE,
    metadata_json JSONB DEFAULT '{}'::jsonb NOT NULL,
    impact_rules JSONB,
    complexity_rules JSONB,
    skills JSONB DEFAULT '[]'::jsonb NOT NULL,
    scorer_version TEXT,
    inbox_id BIGINT,
    commit_id BIGINT,
    import_id BIGINT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    edited_fields TEXT[] DEFAULT '{}'::text[] NOT NULL,
    edited_at TIMESTAMP WITH TIME ZONE,
    edited_by TEXT,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT achievements_pkey PRIMARY KEY (id),
    CONSTRAINT chk_achievements_impact_score CHECK (impact_score BETWEEN 0 AND 100),
    CONSTRAINT chk_achievements_complexity_score CHECK (complexity_score BETWEEN 0 AND 100),
    CONSTRAINT chk_achievements_chronology CHECK (completed_at >= started_at),
    CONSTRAINT uq_achievements_source_key UNIQUE (source_key),
    CONSTRAINT fk_achievements_inbox_id FOREIGN KEY(inbox_id) REFERENCES inbox (id) ON DELETE SET NULL,
    CONSTRAINT fk_achievements_commit_id FOREIGN KEY(commit_id) REFERENCES git_commits (id) ON DELETE SET NULL,
    CONSTRAINT fk_achievements_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE CASCADE
);

CREATE INDEX idx_achievements_category ON achievements (category);
CREATE INDEX idx_achievements_commit_id ON achievements (commit_id) WHERE commit_id IS NOT NULL;
CREATE INDEX idx_achievements_completed ON achievements (completed_at DESC);
CREATE INDEX idx_achievements_composite ON achievements
    (portfolio_ready, impact_score DESC, created_at DESC) WHERE portfolio_ready = true;
CREATE INDEX idx_achievements_impact ON achievements (impact_score DESC);
CREATE INDEX idx_achievements_import_id ON achievements (import_id) WHERE import_id IS NOT NULL;
CREATE INDEX idx_achievements_inbox_id ON achievements (inbox_id) WHERE inbox_id IS NOT NULL;
CREATE UNIQUE INDEX idx_achievements_merge_sha ON achievements (merge_sha) WHERE merge_sha IS NOT NULL;
CREATE INDEX idx_achievements_portfolio ON achievements (portfolio_ready, display_priority);
CREATE INDEX idx_achievements_source ON achievements (source_type, source_id);

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END
$$;

CREATE TRIGGER update_achievements_updated_at BEFORE UPDATE ON achievements
FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""

DOWN = """
DROP TABLE achievements;
DROP FUNCTION update_updated_at_column;
DROP TYPE achievement_category;
DROP TYPE source_type_enum;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
