"""Create experiments."""

from __future__ import annotations

from alembic import op

revision = "0003_create_experiments"
down_revision = "0002_create_inputs"

UP = """
CREATE TABLE experiments (
    id VARCHAR(100) NOT NULL,
    name TEXT NOT NULL,
    status TEXT DEFAULT 'draft' NOT NULL,
    plan JSONB DEFAULT '{}'::jsonb NOT NULL,
    plan_hash TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    import_id BIGINT,
    CONSTRAINT experiments_pkey PRIMARY KEY (id),
    CONSTRAINT chk_experiments_status CHECK (status IN ('draft', 'running', 'stopped')),
    CONSTRAINT fk_experiments_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE CASCADE
);

CREATE INDEX idx_experiments_import_id ON experiments (import_id) WHERE import_id IS NOT NULL;

CREATE TABLE variants (
    variant_id VARCHAR(100) NOT NULL,
    experiment_id VARCHAR(100),
    dimensions JSONB DEFAULT '{}'::jsonb NOT NULL,
    hook TEXT,
    is_control BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    import_id BIGINT,
    CONSTRAINT variants_pkey PRIMARY KEY (variant_id),
    CONSTRAINT fk_variants_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (id) ON DELETE CASCADE,
    CONSTRAINT fk_variants_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE CASCADE
);

CREATE INDEX idx_variants_experiment_id ON variants (experiment_id);
CREATE INDEX idx_variants_import_id ON variants (import_id) WHERE import_id IS NOT NULL;

CREATE TABLE observations (
    id BIGSERIAL NOT NULL,
    event_id TEXT NOT NULL,
    variant_id VARCHAR(100) NOT NULL,
    impressions INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT observations_pkey PRIMARY KEY (id),
    CONSTRAINT chk_observations_counts CHECK (impressions >= 0 AND successes BETWEEN 0 AND impressions),
    CONSTRAINT uq_observations_event_id UNIQUE (event_id),
    CONSTRAINT fk_observations_variant_id FOREIGN KEY(variant_id) REFERENCES variants (variant_id) ON DELETE CASCADE
);

CREATE INDEX idx_observations_variant ON observations (variant_id) INCLUDE (impressions, successes, observed_at);

CREATE TABLE variant_performance (
    id SERIAL NOT NULL,
    variant_id VARCHAR(100) NOT NULL,
    dimensions JSONB NOT NULL,
    impressions BIGINT DEFAULT 0 NOT NULL,
    successes BIGINT DEFAULT 0 NOT NULL,
    last_used TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    confidence_level DOUBLE PRECISION,
    mean_performance DOUBLE PRECISION,
    variance DOUBLE PRECISION,
    ci_low DOUBLE PRECISION,
    ci_high DOUBLE PRECISION,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT variant_performance_pkey PRIMARY KEY (id),
    CONSTRAINT chk_variant_performance_counts CHECK (impressions >= 0 AND successes BETWEEN 0 AND impressions),
    CONSTRAINT uq_variant_performance_variant_id UNIQUE (variant_id),
    CONSTRAINT fk_variant_performance_variant_id FOREIGN KEY(variant_id)
        REFERENCES variants (variant_id) ON DELETE CASCADE
);

CREATE INDEX idx_variant_last_used ON variant_performance (last_used DESC);
CREATE INDEX idx_variant_performance ON variant_performance (variant_id);

-- A variant's statistics are due when it is made or described anew, and whenever something was observed.
CREATE FUNCTION mark_variants() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (asset, key, day)
    SELECT 'variant_performance', 'variant:' || variant_id, utc_day(now())
    FROM (SELECT DISTINCT variant_id FROM new_rows) AS marked
    ORDER BY 2
    ON CONFLICT (asset, key) DO UPDATE SET
        change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
        attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER mark_inserted AFTER INSERT ON variants
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_variants();
CREATE TRIGGER mark_updated AFTER UPDATE ON variants
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_variants();
CREATE TRIGGER mark_inserted AFTER INSERT ON observations
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_variants();
CREATE TRIGGER mark_deleted AFTER DELETE ON observations
REFERENCING OLD TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_variants();
"""

DOWN = """
DROP TABLE variant_performance;
DROP TABLE observations;
DROP TABLE variants;
DROP TABLE experiments;
DROP FUNCTION mark_variants;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
