"""Engagement: what readers did with a post, as of its newest snapshot."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import DAYS, OWNERS, DrainConfig, Event, drain_days, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.engagement import CODE_VERSION, job

engagement_snapshots = dg.AssetSpec(
    "engagement_snapshots",
    description="One row per reading of a post's counters; append-only.",
    group_name="engagement",
    kinds={"postgres"},
    owners=OWNERS,
    tags={"layer": "input", "pii": "none"},
    partitions_def=DAYS,
    metadata=table_metadata(tables.engagement_snapshots),
)

CHECKS = {
    "rates_follow_from_counts": """
        SELECT post_id FROM post_engagement WHERE day BETWEEN :first AND :last AND run_id = :run_id
        AND engagement_rate IS DISTINCT FROM engagements::double precision / nullif(impressions, 0)""",
    "posts_show_the_newest_rate": """
        SELECT posts.id FROM post_engagement AS newest JOIN posts ON posts.id = newest.post_id
        WHERE newest.day BETWEEN :first AND :last AND posts.engagement_rate IS DISTINCT FROM newest.engagement_rate""",
}
ROWS = "SELECT day, count(*) AS rows FROM post_engagement WHERE day BETWEEN :first AND :last GROUP BY day"


@dg.asset(
    description="One row per post that was measured: impressions, engagements and their rate at the newest snapshot.",
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=["posts", "engagement_snapshots"],
    group_name="engagement",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.post_engagement,
        {
            "impressions": [("engagement_snapshots", "impressions")],
            "engagements": [("engagement_snapshots", "engagements")],
            "engagement_rate": [("engagement_snapshots", "engagements"), ("engagement_snapshots", "impressions")],
        },
    ),
    check_specs=sentences("post_engagement", CHECKS, blocking=["rates_follow_from_counts"]),
    output_required=False,
)
def post_engagement(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[Event]:
    yield from drain_days(context, config, database, job(), CHECKS, rows_per_day=ROWS)
