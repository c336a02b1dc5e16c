"""Create inputs."""

from __future__ import annotations

from alembic import op

revision = "0002_create_inputs"
down_revision = "0001_create_queue"

UP = """
CREATE TABLE imports (
    id BIGSERIAL NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    demo BOOLEAN DEFAULT false NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    row_count BIGINT,
    CONSTRAINT imports_pkey PRIMARY KEY (id),
    CONSTRAINT chk_imports_kind CHECK (kind IN ('git', 'experiments', 'demo'))
);


CREATE TABLE inbox (
    id BIGSERIAL NOT NULL,
    source TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    event TEXT NOT NULL,
    body BYTEA NOT NULL,
    body_hash TEXT NOT NULL,
    headers JSONB DEFAULT '{}'::jsonb NOT NULL,
    day DATE NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    status TEXT DEFAULT 'received' NOT NULL,
    reason TEXT,
    CONSTRAINT inbox_pkey PRIMARY KEY (id),
    CONSTRAINT uq_inbox_source_delivery_id UNIQUE (source, delivery_id),
    CONSTRAINT uq_inbox_source_body_hash UNIQUE (source, body_hash),
    CONSTRAINT chk_inbox_status CHECK (status IN ('received', 'processed', 'ignored', 'failed'))
);

CREATE INDEX idx_inbox_day ON inbox (day);

CREATE TABLE git_commits (
    id BIGSERIAL NOT NULL,
    import_id BIGINT NOT NULL,
    repository TEXT NOT NULL,
    sha TEXT NOT NULL,
    day DATE NOT NULL,
    change JSONB NOT NULL,
    CONSTRAINT git_commits_pkey PRIMARY KEY (id),
    CONSTRAINT uq_git_commits_repository_sha UNIQUE (repository, sha),
    CONSTRAINT fk_git_commits_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE CASCADE
);

CREATE INDEX idx_git_commits_day ON git_commits (day);
CREATE INDEX idx_git_commits_import_id ON git_commits (import_id);
"""

DOWN = """
DROP TABLE git_commits;
DROP TABLE inbox;
DROP TABLE imports;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
