"""Create dashboard metrics."""

from __future__ import annotations

from alembic import op

revision = "0007_create_dashboard_metrics"
down_revision = "0006_create_achievements"

UP = """
CREATE TABLE metric_deltas (
    id BIGSERIAL NOT NULL,
    day DATE NOT NULL,
    metric TEXT NOT NULL,
    label TEXT NOT NULL,
    n BIGINT NOT NULL,
    total NUMERIC NOT NULL,
    CONSTRAINT metric_deltas_pkey PRIMARY KEY (id)
);


CREATE TABLE dashboard_metrics_daily (
    day DATE NOT NULL,
    metric TEXT NOT NULL,
    label TEXT NOT NULL,
    n BIGINT NOT NULL,
    total NUMERIC NOT NULL,
    CONSTRAINT dashboard_metrics_daily_pkey PRIMARY KEY (metric, day, label)
);


CREATE TABLE dashboard_refreshes (
    id BIGSERIAL NOT NULL,
    refreshed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    folded BIGINT NOT NULL,
    run_id TEXT,
    code_version TEXT,
    CONSTRAINT dashboard_refreshes_pkey PRIMARY KEY (id)
);

CREATE INDEX idx_dashboard_refreshes_refreshed_at ON dashboard_refreshes (refreshed_at DESC);

-- Folds the captured changes into the daily figures; returns how many it folded. One at a time: a second caller waits.
CREATE FUNCTION refresh_dashboard_metrics() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    folded BIGINT;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('refresh_dashboard_metrics'));
    WITH taken AS (
        DELETE FROM metric_deltas RETURNING metric, day, label, n, total
    ), summed AS (
        SELECT metric, day, label, sum(n) AS n, sum(total) AS total, count(*) AS changes FROM taken
        GROUP BY metric, day, label
    ), stored AS (
        INSERT INTO dashboard_metrics_daily AS daily (metric, day, label, n, total)
        SELECT metric, day, label, n, total FROM summed WHERE n <> 0 OR total <> 0
        ON CONFLICT (metric, day, label) DO UPDATE SET
            n = daily.n + excluded.n, total = daily.total + excluded.total
    )
    SELECT coalesce(sum(changes), 0) INTO folded FROM summed;
    RETURN folded;
END
$$;

-- One row: the figures of the last 30 days, today included; NULL where nothing was measured.
CREATE VIEW dashboard_metrics AS
SELECT
    coalesce(sum(n) FILTER (WHERE metric = 'achievements'), 0)::bigint AS total_achievements,
    (sum(total) FILTER (WHERE metric = 'impact') / nullif(sum(n) FILTER (WHERE metric = 'impact'), 0))::double precision
        AS avg_impact,
    (sum(total) FILTER (WHERE metric = 'time_saved' AND n > 0))::double precision AS total_time_saved,
    count(DISTINCT label) FILTER (WHERE metric = 'achievements' AND n > 0) AS categories_covered,
    coalesce(sum(n) FILTER (WHERE metric = 'posts'), 0)::bigint AS total_posts,
    coalesce(sum(n) FILTER (WHERE metric = 'arcs'), 0)::bigint AS total_arcs,
    (sum(total) FILTER (WHERE metric = 'engagement') / nullif(sum(n) FILTER (WHERE metric = 'engagement'), 0))
        ::double precision AS engagement_rate,
    coalesce(sum(n) FILTER (WHERE metric = 'observations'), 0)::bigint AS observed_impressions,
    coalesce(sum(total) FILTER (WHERE metric = 'observations'), 0)::bigint AS observed_successes,
    (SELECT max(refreshed_at) FROM dashboard_refreshes) AS refreshed_at,
    (SELECT run_id FROM dashboard_refreshes ORDER BY refreshed_at DESC LIMIT 1) AS run_id,
    (SELECT code_version FROM dashboard_refreshes ORDER BY refreshed_at DESC LIMIT 1) AS code_version
FROM dashboard_metrics_daily
WHERE day > utc_day(now()) - 30 AND day <= utc_day(now());
"""

# What each row of a captured table adds to the daily figures: (metric, day, label, n, total) per row.
CAPTURED = {
    "achievements": """
        SELECT v.metric, utc_day(completed_at), category::text, v.n, v.total FROM {rows} AS r, LATERAL (VALUES
            ('achievements', 1, 0),
            ('impact', (impact_score IS NOT NULL)::int, coalesce(impact_score, 0)::numeric),
            ('time_saved', (time_saved_hours IS NOT NULL)::int, coalesce(time_saved_hours, 0)::numeric)
        ) AS v (metric, n, total)
        WHERE completed_at IS NOT NULL AND deleted_at IS NULL""",
    "posts": """
        SELECT 'posts', utc_day(ts), persona_id, 1, coalesce(tokens_used, 0)::numeric FROM {rows}""",
    "emotion_trajectories": """
        SELECT 'arcs', day, trajectory_type, 1, 0::numeric FROM {rows}""",
    "post_engagement": """
        SELECT 'engagement', day, persona_id, impressions, engagements::numeric FROM {rows}""",
    "observations": """
        SELECT 'observations', utc_day(observed_at), '', impressions, successes::numeric FROM {rows}""",
}

FUNCTION = """
CREATE FUNCTION capture_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO metric_deltas (metric, day, label, n, total)
        SELECT metric, day, label, sum(n), sum(total) FROM ({added}
        ) AS added (metric, day, label, n, total) GROUP BY metric, day, label;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO metric_deltas (metric, day, label, n, total)
        SELECT metric, day, label, -sum(n), -sum(total) FROM ({removed}
        ) AS removed (metric, day, label, n, total) GROUP BY metric, day, label;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER capture_inserted AFTER INSERT ON {table}
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION capture_{table}();
CREATE TRIGGER capture_updated AFTER UPDATE ON {table}
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION capture_{table}();
CREATE TRIGGER capture_deleted AFTER DELETE ON {table}
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION capture_{table}();
"""

DOWN = """
DROP VIEW dashboard_metrics;
DROP FUNCTION refresh_dashboard_metrics;
DROP TABLE dashboard_refreshes;
DROP TABLE dashboard_metrics_daily;
DROP TABLE metric_deltas;
"""


def upgrade() -> None:
    op.execute(UP)
    for table, rows in CAPTURED.items():
        added, removed = rows.format(rows="new_rows"), rows.format(rows="old_rows")
        op.execute(FUNCTION.format(table=table, added=added, removed=removed))


def downgrade() -> None:
    for table in CAPTURED:
        op.execute(f"DROP FUNCTION capture_{table} CASCADE")
    op.execute(DOWN)
