"""Create pull requests: what GitHub's API lists and tells, and the repositories that are connected."""

from __future__ import annotations

from alembic import op

revision = "0015_create_pull_requests"
down_revision = "0014_create_backfills"

UP = """
ALTER TABLE imports DROP CONSTRAINT chk_imports_kind;
ALTER TABLE imports ADD CONSTRAINT chk_imports_kind CHECK (kind IN ('git', 'github', 'experiments', 'demo'));
CREATE UNIQUE INDEX idx_imports_github ON imports (source) WHERE kind = 'github';

CREATE TABLE pull_requests (
    id BIGSERIAL NOT NULL,
    import_id BIGINT,
    repository TEXT NOT NULL,
    number INTEGER NOT NULL,
    merge_sha TEXT,
    day DATE NOT NULL,
    merged_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    listed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    reason TEXT,
    read_updated_at TIMESTAMP WITH TIME ZONE,
    change JSONB,
    CONSTRAINT pull_requests_pkey PRIMARY KEY (id),
    CONSTRAINT uq_pull_requests_repository_number UNIQUE (repository, number),
    CONSTRAINT fk_pull_requests_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE CASCADE
);

CREATE INDEX idx_pull_requests_day ON pull_requests (day);
CREATE INDEX idx_pull_requests_import_id ON pull_requests (import_id) WHERE import_id IS NOT NULL;

ALTER TABLE achievements ADD COLUMN push_id BIGINT;
ALTER TABLE achievements ADD CONSTRAINT fk_achievements_push_id
FOREIGN KEY(push_id) REFERENCES inbox (id) ON DELETE SET NULL;
CREATE INDEX idx_achievements_push_id ON achievements (push_id) WHERE push_id IS NOT NULL;
UPDATE achievements SET push_id = inbox.id, inbox_id = NULL
FROM inbox WHERE inbox.id = achievements.inbox_id AND inbox.event = 'push';

ALTER TABLE achievements ADD COLUMN pull_request_id BIGINT;
ALTER TABLE achievements ADD CONSTRAINT fk_achievements_pull_request_id
FOREIGN KEY(pull_request_id) REFERENCES pull_requests (id) ON DELETE SET NULL;
CREATE INDEX idx_achievements_pull_request_id ON achievements (pull_request_id) WHERE pull_request_id IS NOT NULL;

CREATE TABLE github_repositories (
    repository TEXT NOT NULL,
    import_id BIGINT,
    etag TEXT,
    seen_until TIMESTAMP WITH TIME ZONE,
    connected_at TIMESTAMP WITH TIME ZONE,
    hook_id BIGINT,
    hook_url TEXT,
    checked_at TIMESTAMP WITH TIME ZONE,
    failure TEXT,
    CONSTRAINT github_repositories_pkey PRIMARY KEY (repository),
    CONSTRAINT fk_github_repositories_import_id FOREIGN KEY(import_id) REFERENCES imports (id) ON DELETE SET NULL
);
"""

DOWN = """
DROP TABLE github_repositories;
UPDATE achievements SET inbox_id = coalesce(inbox_id, push_id);
ALTER TABLE achievements DROP COLUMN pull_request_id, DROP COLUMN push_id;
DROP TABLE pull_requests;
DELETE FROM imports WHERE kind = 'github';
DROP INDEX idx_imports_github;
ALTER TABLE imports DROP CONSTRAINT chk_imports_kind;
ALTER TABLE imports ADD CONSTRAINT chk_imports_kind CHECK (kind IN ('git', 'experiments', 'demo'));
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
