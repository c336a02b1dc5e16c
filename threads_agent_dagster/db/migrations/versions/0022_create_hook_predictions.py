"""Create hook predictions."""

from __future__ import annotations

from alembic import op

revision = "0022_create_hook_predictions"
down_revision = "0021_compare_changes"

UP = """
CREATE TABLE hook_predictions (
    variant_id VARCHAR(100) NOT NULL,
    experiment_id VARCHAR(100) NOT NULL,
    predicted_logit DOUBLE PRECISION NOT NULL,
    predicted_sd DOUBLE PRECISION NOT NULL,
    predicted_rank INTEGER NOT NULL,
    sample VARCHAR(20) NOT NULL,
    model_version TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT hook_predictions_pkey PRIMARY KEY (variant_id),
    CONSTRAINT chk_hook_predictions_sample CHECK (sample IN ('unseen', 'out of fold', 'in sample')),
    CONSTRAINT fk_hook_predictions_variant_id FOREIGN KEY(variant_id)
        REFERENCES variants (variant_id) ON DELETE CASCADE,
    CONSTRAINT fk_hook_predictions_experiment_id FOREIGN KEY(experiment_id)
        REFERENCES experiments (id) ON DELETE CASCADE
);

CREATE INDEX idx_hook_predictions_experiment_id ON hook_predictions (experiment_id);

CREATE TABLE hook_calibration (
    sample VARCHAR(20) NOT NULL,
    counted VARCHAR(20) NOT NULL,
    chance_from DOUBLE PRECISION NOT NULL,
    chance_to DOUBLE PRECISION NOT NULL,
    experiments INTEGER NOT NULL,
    pairs INTEGER NOT NULL,
    mean_chance DOUBLE PRECISION NOT NULL,
    expected_right DOUBLE PRECISION NOT NULL,
    share_right DOUBLE PRECISION NOT NULL,
    share_low DOUBLE PRECISION,
    share_high DOUBLE PRECISION,
    brier DOUBLE PRECISION NOT NULL,
    log_loss DOUBLE PRECISION NOT NULL,
    model_version TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT hook_calibration_pkey PRIMARY KEY (sample, counted, chance_from, chance_to),
    CONSTRAINT chk_hook_calibration_sample CHECK (sample IN ('unseen', 'out of fold', 'in sample')),
    CONSTRAINT chk_hook_calibration_counted CHECK (counted IN ('all', 'significant'))
)
"""

DOWN = """
DROP TABLE hook_calibration;
DROP TABLE hook_predictions;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
