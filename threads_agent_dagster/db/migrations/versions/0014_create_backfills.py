"""Create backfills."""

from __future__ import annotations

from alembic import op

revision = "0014_create_backfills"
down_revision = "0013_create_portfolio"

UP = """
CREATE TABLE backfills (
    id TEXT NOT NULL,
    asset TEXT NOT NULL,
    code_version TEXT NOT NULL,
    first_day DATE NOT NULL,
    last_day DATE NOT NULL,
    force BOOLEAN NOT NULL,
    rows BIGINT DEFAULT 0 NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    CONSTRAINT backfills_pkey PRIMARY KEY (id, asset),
    CONSTRAINT chk_backfills_outcome CHECK (outcome IN ('done', 'handed over', 'cancelled'))
);

CREATE TABLE drain_rates (
    asset TEXT NOT NULL,
    code_version TEXT NOT NULL,
    drains BIGINT NOT NULL,
    rows DOUBLE PRECISION NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    rows_rows DOUBLE PRECISION NOT NULL,
    rows_seconds DOUBLE PRECISION NOT NULL,
    tokens BIGINT,
    cost_usd NUMERIC,
    measured_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT drain_rates_pkey PRIMARY KEY (asset, code_version)
);

ALTER TABLE pending ADD COLUMN backfill TEXT;
CREATE INDEX idx_pending_backfill ON pending (backfill) WHERE backfill IS NOT NULL;

-- A row whose input moves is wanted for its own sake: cancelling the backfill that marked it first leaves it alone.
CREATE FUNCTION leave_backfill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.backfill := NULL;
    RETURN NEW;
END
$$;

CREATE TRIGGER leave_backfill BEFORE UPDATE OF change ON pending
FOR EACH ROW WHEN (OLD.change <> NEW.change) EXECUTE FUNCTION leave_backfill();
"""

DOWN = """
DROP TRIGGER leave_backfill ON pending;
DROP FUNCTION leave_backfill;
ALTER TABLE pending DROP COLUMN backfill;
DROP TABLE drain_rates;
DROP TABLE backfills;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
