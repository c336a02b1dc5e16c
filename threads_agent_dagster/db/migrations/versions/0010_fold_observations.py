"""Fold observations: keep what changed since statistics were made, so that their cost follows the change."""

from __future__ import annotations

from alembic import op

revision = "0010_fold_observations"
down_revision = "0009_create_embeddings"

UP = """
ALTER TABLE observations
    ADD COLUMN steered BOOLEAN DEFAULT false NOT NULL,
    ADD COLUMN guardrails JSONB;

ALTER TABLE variant_performance
    ADD COLUMN steered_impressions BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN steered_successes BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN guardrails JSONB DEFAULT '{}'::jsonb NOT NULL,
    ADD CONSTRAINT chk_variant_performance_steered CHECK (steered_impressions BETWEEN 0 AND impressions
        AND steered_successes BETWEEN 0 AND steered_impressions);

CREATE TABLE observation_deltas (
    id BIGSERIAL NOT NULL,
    variant_id VARCHAR(100) NOT NULL,
    impressions BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    steered_impressions BIGINT NOT NULL,
    steered_successes BIGINT NOT NULL,
    guardrails JSONB,
    last_used TIMESTAMP WITH TIME ZONE,
    recount BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT observation_deltas_pkey PRIMARY KEY (id),
    CONSTRAINT fk_observation_deltas_variant_id FOREIGN KEY(variant_id)
        REFERENCES variants (variant_id) ON DELETE CASCADE
);

CREATE INDEX idx_observation_deltas_variant_id ON observation_deltas (variant_id);

-- Harm is counted where the plan split the impressions, as successes are.
CREATE FUNCTION capture_deltas() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH harm AS (
        SELECT variant_id, jsonb_object_agg(metric, n) AS guardrails FROM (
            SELECT variant_id, key AS metric, sum(value::bigint) AS n
            FROM new_rows, jsonb_each_text(guardrails) WHERE NOT steered GROUP BY variant_id, key
        ) AS counted GROUP BY variant_id
    )
    INSERT INTO observation_deltas (variant_id, impressions, successes, steered_impressions, steered_successes,
        last_used, guardrails)
    SELECT variant_id, sum(impressions), sum(successes), coalesce(sum(impressions) FILTER (WHERE steered), 0),
        coalesce(sum(successes) FILTER (WHERE steered), 0), max(observed_at),
        (SELECT guardrails FROM harm WHERE harm.variant_id = new_rows.variant_id)
    FROM new_rows GROUP BY variant_id;
    RETURN NULL;
END
$$;

-- What was taken back cannot be subtracted from a newest time: such a variant is counted anew.
CREATE FUNCTION capture_recounts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO observation_deltas (variant_id, impressions, successes, steered_impressions, steered_successes, recount)
    SELECT DISTINCT variants.variant_id, 0, 0, 0, 0, true FROM old_rows JOIN variants USING (variant_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER fold_inserted AFTER INSERT ON observations
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION capture_deltas();
CREATE TRIGGER fold_updated AFTER UPDATE ON observations
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION capture_recounts();
CREATE TRIGGER fold_deleted AFTER DELETE ON observations
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION capture_recounts();
CREATE TRIGGER mark_updated AFTER UPDATE ON observations
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_variants();
"""

DOWN = """
DROP TRIGGER mark_updated ON observations;
DROP FUNCTION capture_deltas CASCADE;
DROP FUNCTION capture_recounts CASCADE;
DROP TABLE observation_deltas;
ALTER TABLE variant_performance
    DROP COLUMN steered_impressions, DROP COLUMN steered_successes, DROP COLUMN guardrails;
ALTER TABLE observations DROP COLUMN steered, DROP COLUMN guardrails;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
