"""Create the ledger of paid calls and the budget that they are reserved from."""

from __future__ import annotations

from alembic import op

revision = "0019_create_llm_calls"
down_revision = "0018_name_holders"

UP = """
CREATE TABLE llm_budgets (
    day DATE NOT NULL,
    used_tokens BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT llm_budgets_pkey PRIMARY KEY (day),
    CONSTRAINT chk_llm_budgets_used CHECK (used_tokens >= 0)
);

CREATE TABLE llm_calls (
    id BIGSERIAL NOT NULL,
    request_hash TEXT NOT NULL,
    item TEXT NOT NULL,
    model TEXT NOT NULL,
    day DATE NOT NULL,
    status TEXT DEFAULT 'reserved' NOT NULL,
    reserved_tokens BIGINT NOT NULL,
    used_tokens BIGINT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cost_usd NUMERIC,
    answer JSONB,
    error TEXT,
    run_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT llm_calls_pkey PRIMARY KEY (id),
    CONSTRAINT chk_llm_calls_status CHECK (status IN ('reserved', 'answered', 'refused', 'lost')),
    CONSTRAINT chk_llm_calls_reserved CHECK (reserved_tokens > 0),
    CONSTRAINT chk_llm_calls_settled CHECK ((status = 'reserved') = (used_tokens IS NULL))
);

CREATE UNIQUE INDEX idx_llm_calls_answered ON llm_calls (request_hash) WHERE status = 'answered';
CREATE UNIQUE INDEX idx_llm_calls_reserved ON llm_calls (request_hash) WHERE status = 'reserved';
CREATE INDEX idx_llm_calls_day ON llm_calls (day);
"""

DOWN = """
DROP TABLE llm_calls;
DROP TABLE llm_budgets;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
