"""Create emotion effects."""

from __future__ import annotations

from alembic import op

revision = "0020_create_emotion_effects"
down_revision = "0019_create_llm_calls"

UP = """
CREATE TABLE emotion_effects (
    persona_id VARCHAR(50) NOT NULL,
    design VARCHAR(20) NOT NULL,
    feature VARCHAR(20) NOT NULL,
    comparisons INTEGER NOT NULL,
    posts INTEGER NOT NULL,
    odds_ratio DOUBLE PRECISION,
    odds_ratio_low DOUBLE PRECISION,
    odds_ratio_high DOUBLE PRECISION,
    p_value DOUBLE PRECISION,
    q_value DOUBLE PRECISION,
    verdict VARCHAR(20) NOT NULL,
    scorer_version TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT emotion_effects_pkey PRIMARY KEY (persona_id, design, feature),
    CONSTRAINT chk_emotion_effects_design CHECK (design IN ('randomised', 'observed')),
    CONSTRAINT chk_emotion_effects_verdict
        CHECK (verdict IN ('raises', 'lowers', 'no evidence', 'too little data'))
)
"""

DOWN = "DROP TABLE emotion_effects"


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
