"""Dashboard metrics: daily figures, folded from captured changes."""

from collections.abc import Iterator

import dagster as dg
from sqlalchemy import text

from assets.draining import OWNERS, Event, check, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.drain import Origin
from threads_agent_dagster.work.metrics import CODE_VERSION, refresh

CHECKS = {
    "no_daily_figure_is_negative": """
        SELECT metric || ' ' || day || ' ' || label FROM dashboard_metrics_daily WHERE n < 0 OR total < 0""",
    "today_equals_the_tables": """
        SELECT metric FROM (VALUES
            ('posts', (SELECT count(*) FROM posts
                WHERE utc_day(ts) = utc_day(now()) AND ts > now() - interval '2 days')),
            ('achievements', (SELECT count(*) FROM achievements WHERE deleted_at IS NULL
                AND utc_day(completed_at) = utc_day(now()) AND completed_at > now() - interval '2 days'))
        ) AS counted (metric, rows)
        WHERE rows <> (SELECT coalesce(sum(n), 0) FROM dashboard_metrics_daily AS daily
            WHERE daily.metric = counted.metric AND day = utc_day(now()))
        AND NOT EXISTS (SELECT FROM metric_deltas WHERE metric_deltas.metric = counted.metric)""",
}


@dg.asset(
    description="One row per day, metric and label; the view of the same name sums the last 30 days.",
    deps=["achievements", "posts", "emotion_trajectories", "post_engagement", "variant_performance"],
    group_name="metrics",
    kinds={"postgres"},
    owners=OWNERS,
    tags={"layer": "mart", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.dashboard_metrics_daily,
        {
            "n": [("achievements", "completed_at"), ("posts", "ts"), ("emotion_trajectories", "day")],
            "total": [("achievements", "impact_score"), ("posts", "tokens_used"), ("post_engagement", "engagements")],
        },
    ),
    check_specs=sentences("dashboard_metrics", CHECKS),
)
def dashboard_metrics(context: dg.AssetExecutionContext, database: Database) -> Iterator[Event]:
    folded = refresh(database.engine, Origin(context.run.run_id, CODE_VERSION))
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT count(*) FROM dashboard_metrics_daily")).scalar_one()
    yield dg.MaterializeResult(
        metadata={"folded_changes": folded, "dagster/row_count": rows}, check_results=check(database, CHECKS, {})
    )
