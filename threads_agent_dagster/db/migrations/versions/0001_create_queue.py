"""Create queue."""

from __future__ import annotations

from alembic import op

revision = "0001_create_queue"
down_revision = None

UP = """
CREATE SEQUENCE pending_change;

CREATE TABLE pending (
    asset TEXT NOT NULL,
    key TEXT NOT NULL,
    day DATE NOT NULL,
    priority SMALLINT DEFAULT 1 NOT NULL,
    change BIGINT DEFAULT nextval('pending_change'::regclass) NOT NULL,
    claim BIGINT,
    attempts INTEGER DEFAULT 0 NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    not_before TIMESTAMP WITH TIME ZONE,
    error TEXT,
    dead_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pending_pkey PRIMARY KEY (asset, key),
    CONSTRAINT chk_pending_priority CHECK (priority BETWEEN 0 AND 2)
);

CREATE INDEX idx_pending_day ON pending (asset, day);
CREATE INDEX idx_pending_order ON pending (asset, (change + priority * 1000000)) WHERE dead_at IS NULL;

CREATE TABLE outbox (
    id BIGSERIAL NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    payload JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    delivered_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT outbox_pkey PRIMARY KEY (id)
);

CREATE INDEX idx_outbox_undelivered ON outbox (id) WHERE delivered_at IS NULL;

CREATE TABLE api_keys (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    secret_hash BYTEA NOT NULL,
    scopes TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id)
);


CREATE TABLE idempotency_keys (
    principal TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    status INTEGER,
    response JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (principal, route, key)
);

-- Wakes whoever listens when work appears or its input changes; a claim changes neither and stays silent.
CREATE FUNCTION notify_pending() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM pg_notify('pending', asset) FROM (SELECT DISTINCT asset FROM new_rows) AS marked;
    ELSE
        PERFORM pg_notify('pending', asset) FROM (
            SELECT DISTINCT new_rows.asset FROM new_rows JOIN old_rows USING (asset, key)
            WHERE new_rows.change <> old_rows.change
        ) AS marked;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER notify_inserted AFTER INSERT ON pending
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION notify_pending();
CREATE TRIGGER notify_updated AFTER UPDATE ON pending
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION notify_pending();

CREATE FUNCTION utc_day(moment TIMESTAMPTZ) RETURNS DATE LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (moment AT TIME ZONE 'UTC')::date;
"""

DOWN = """
DROP TABLE idempotency_keys;
DROP TABLE api_keys;
DROP TABLE outbox;
DROP TABLE pending;
DROP FUNCTION notify_pending;
DROP FUNCTION utc_day;
DROP SEQUENCE pending_change;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
