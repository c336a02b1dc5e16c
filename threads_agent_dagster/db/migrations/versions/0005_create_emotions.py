"""Create emotions."""

from __future__ import annotations

from alembic import op

revision = "0005_create_emotions"
down_revision = "0004_create_content"

UP = """
CREATE TABLE emotion_trajectories (
    id BIGSERIAL NOT NULL,
    post_id BIGINT NOT NULL,
    persona_id VARCHAR(50) NOT NULL,
    day DATE NOT NULL,
    content_hash VARCHAR(64) NOT NULL,
    segment_count INTEGER NOT NULL,
    trajectory_type VARCHAR(20) NOT NULL,
    reason TEXT,
    joy_avg DOUBLE PRECISION,
    anger_avg DOUBLE PRECISION,
    fear_avg DOUBLE PRECISION,
    sadness_avg DOUBLE PRECISION,
    surprise_avg DOUBLE PRECISION,
    disgust_avg DOUBLE PRECISION,
    anticipation_avg DOUBLE PRECISION,
    trust_avg DOUBLE PRECISION,
    sentiment_positive DOUBLE PRECISION,
    sentiment_negative DOUBLE PRECISION,
    sentiment_neutral DOUBLE PRECISION,
    sentiment_compound DOUBLE PRECISION,
    dominant_emotion VARCHAR(20),
    emotional_variance DOUBLE PRECISION,
    peaks INTEGER[] NOT NULL,
    valleys INTEGER[] NOT NULL,
    confidence DOUBLE PRECISION,
    scorer_version TEXT NOT NULL,
    processing_time_ms INTEGER,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT emotion_trajectories_pkey PRIMARY KEY (id),
    CONSTRAINT chk_emotion_trajectories_trajectory_type
        CHECK (trajectory_type IN ('rising', 'falling', 'stable', 'volatile', 'insufficient')),
    CONSTRAINT chk_emotion_trajectories_reason CHECK (trajectory_type <> 'insufficient' OR reason IS NOT NULL),
    CONSTRAINT uq_emotion_trajectories_post_id UNIQUE (post_id),
    CONSTRAINT fk_emotion_trajectories_post_id FOREIGN KEY(post_id) REFERENCES posts (id) ON DELETE CASCADE
);

CREATE INDEX idx_emotion_content_hash ON emotion_trajectories (content_hash);
CREATE INDEX idx_emotion_created ON emotion_trajectories (created_at DESC);
CREATE INDEX idx_emotion_day ON emotion_trajectories (day);
CREATE INDEX idx_emotion_persona ON emotion_trajectories (persona_id);
CREATE INDEX idx_emotion_post ON emotion_trajectories (post_id);

CREATE TABLE emotion_segments (
    trajectory_id BIGINT NOT NULL,
    index INTEGER NOT NULL,
    text TEXT NOT NULL,
    joy DOUBLE PRECISION,
    anger DOUBLE PRECISION,
    fear DOUBLE PRECISION,
    sadness DOUBLE PRECISION,
    surprise DOUBLE PRECISION,
    disgust DOUBLE PRECISION,
    anticipation DOUBLE PRECISION,
    trust DOUBLE PRECISION,
    sentiment_positive DOUBLE PRECISION,
    sentiment_negative DOUBLE PRECISION,
    sentiment_neutral DOUBLE PRECISION,
    sentiment_compound DOUBLE PRECISION,
    dominant_emotion VARCHAR(20),
    CONSTRAINT emotion_segments_pkey PRIMARY KEY (trajectory_id, index),
    CONSTRAINT fk_emotion_segments_trajectory_id FOREIGN KEY(trajectory_id)
        REFERENCES emotion_trajectories (id) ON DELETE CASCADE
);


CREATE TABLE emotion_transitions (
    trajectory_id BIGINT NOT NULL,
    from_index INTEGER NOT NULL,
    to_index INTEGER NOT NULL,
    from_emotion VARCHAR(20),
    to_emotion VARCHAR(20),
    intensity_change DOUBLE PRECISION NOT NULL,
    type VARCHAR(20) NOT NULL,
    CONSTRAINT emotion_transitions_pkey PRIMARY KEY (trajectory_id, from_index),
    CONSTRAINT fk_emotion_transitions_trajectory_id FOREIGN KEY(trajectory_id)
        REFERENCES emotion_trajectories (id) ON DELETE CASCADE
);
"""

DOWN = """
DROP TABLE emotion_transitions;
DROP TABLE emotion_segments;
DROP TABLE emotion_trajectories;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
