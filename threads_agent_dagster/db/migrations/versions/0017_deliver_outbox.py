"""Deliver the outbox through the queue: what is appended to it is marked as work of its topic."""

from __future__ import annotations

from alembic import op

revision = "0017_deliver_outbox"
down_revision = "0016_create_identities"

UP = """
ALTER TABLE outbox ADD COLUMN withheld BOOLEAN DEFAULT false NOT NULL;
ALTER TABLE outbox ADD CONSTRAINT uq_outbox_topic_key UNIQUE (topic, key);
DROP INDEX idx_outbox_undelivered;
CREATE INDEX idx_outbox_delivered ON outbox (topic, delivered_at) WHERE delivered_at IS NOT NULL;

CREATE FUNCTION mark_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending (asset, key, day) SELECT topic, 'outbox:' || id, utc_day(created_at) FROM new_rows;
    RETURN NULL;
END
$$;

CREATE TRIGGER mark_appended AFTER INSERT ON outbox
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION mark_outbox();
"""

DOWN = """
DROP TRIGGER mark_appended ON outbox;
DROP FUNCTION mark_outbox;
DELETE FROM pending WHERE key LIKE 'outbox:%';
DROP INDEX idx_outbox_delivered;
CREATE INDEX idx_outbox_undelivered ON outbox (id) WHERE delivered_at IS NULL;
ALTER TABLE outbox DROP CONSTRAINT uq_outbox_topic_key;
ALTER TABLE outbox DROP COLUMN withheld;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
