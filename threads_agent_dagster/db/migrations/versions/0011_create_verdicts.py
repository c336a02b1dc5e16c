"""Create verdicts: frozen plans, what they say, what was promoted, and which unit has which variant."""

from __future__ import annotations

from alembic import op

revision = "0011_create_verdicts"
down_revision = "0010_fold_observations"

UP = """
-- A plan cannot change once its experiment began: a changed plan is a new experiment.
CREATE FUNCTION keep_frozen_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the plan of experiment % was frozen at its start: a changed plan is a new experiment', OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER keep_frozen_plan BEFORE UPDATE OF plan, plan_hash ON experiments FOR EACH ROW
WHEN (OLD.plan_hash IS NOT NULL AND (OLD.plan, OLD.plan_hash) IS DISTINCT FROM (NEW.plan, NEW.plan_hash))
EXECUTE FUNCTION keep_frozen_plan();

CREATE TABLE experiment_verdicts (
    experiment_id VARCHAR(100) NOT NULL,
    plan_hash TEXT NOT NULL,
    input_version TEXT NOT NULL,
    test TEXT NOT NULL,
    prior TEXT NOT NULL,
    n BIGINT NOT NULL,
    smallest BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    rule TEXT NOT NULL,
    variant_id TEXT,
    gate TEXT,
    p_value DOUBLE PRECISION,
    p_value_sequential DOUBLE PRECISION,
    srm_p DOUBLE PRECISION,
    stale BOOLEAN NOT NULL,
    document TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    computed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT experiment_verdicts_pkey PRIMARY KEY (experiment_id),
    CONSTRAINT chk_experiment_verdicts_verdict
        CHECK (verdict IN ('ship', 'roll back', 'keep running', 'no evidence', 'unhealthy')),
    CONSTRAINT fk_experiment_verdicts_experiment_id FOREIGN KEY(experiment_id)
        REFERENCES experiments (id) ON DELETE CASCADE
);

CREATE TABLE promotions (
    id BIGSERIAL NOT NULL,
    experiment_id VARCHAR(100) NOT NULL,
    variant_id VARCHAR(100) NOT NULL,
    promoted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    promoted_by TEXT NOT NULL,
    forced BOOLEAN NOT NULL,
    reason TEXT,
    verdict TEXT,
    verdict_sha256 TEXT,
    undone_at TIMESTAMP WITH TIME ZONE,
    undone_by TEXT,
    undo_reason TEXT,
    CONSTRAINT promotions_pkey PRIMARY KEY (id),
    CONSTRAINT chk_promotions_forced CHECK (NOT forced OR reason IS NOT NULL),
    CONSTRAINT fk_promotions_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (id) ON DELETE CASCADE,
    CONSTRAINT fk_promotions_variant_id FOREIGN KEY(variant_id) REFERENCES variants (variant_id) ON DELETE CASCADE
);

CREATE INDEX idx_promotions_experiment_id ON promotions (experiment_id, id);
CREATE INDEX idx_promotions_variant_id ON promotions (variant_id);

CREATE TABLE assignments (
    experiment_id VARCHAR(100) NOT NULL,
    unit_id TEXT NOT NULL,
    variant_id VARCHAR(100) NOT NULL,
    steered BOOLEAN NOT NULL,
    assigned_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT assignments_pkey PRIMARY KEY (experiment_id, unit_id),
    CONSTRAINT fk_assignments_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (id) ON DELETE CASCADE,
    CONSTRAINT fk_assignments_variant_id FOREIGN KEY(variant_id) REFERENCES variants (variant_id) ON DELETE CASCADE
);

CREATE INDEX idx_assignments_variant_id ON assignments (variant_id);

-- A verdict is due when a started experiment's figures, its plan or its state moved.
CREATE FUNCTION mark_verdicts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (asset, key, day)
    SELECT 'experiment_verdicts', 'experiment:' || experiments.id, utc_day(now()) FROM experiments
    WHERE plan_hash IS NOT NULL AND experiments.id IN (
        SELECT experiment_id FROM new_rows JOIN variants USING (variant_id))
    ORDER BY 2
    ON CONFLICT (asset, key) DO UPDATE SET
        change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
        attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    RETURN NULL;
END
$$;

CREATE FUNCTION mark_own_verdict() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (asset, key, day)
    SELECT 'experiment_verdicts', 'experiment:' || id, utc_day(now()) FROM new_rows WHERE plan_hash IS NOT NULL
    ORDER BY 2
    ON CONFLICT (asset, key) DO UPDATE SET
        change = excluded.change, day = excluded.day, priority = least(pending.priority, excluded.priority),
        attempts = 0, not_before = NULL, error = NULL, dead_at = NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER mark_inserted AFTER INSERT ON variant_performance
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_verdicts();
CREATE TRIGGER mark_updated AFTER UPDATE ON variant_performance
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_verdicts();
CREATE TRIGGER mark_updated AFTER UPDATE ON experiments
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_own_verdict();
"""

DOWN = """
DROP FUNCTION mark_verdicts CASCADE;
DROP FUNCTION mark_own_verdict CASCADE;
DROP FUNCTION keep_frozen_plan CASCADE;
DROP TABLE assignments;
DROP TABLE promotions;
DROP TABLE experiment_verdicts;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
