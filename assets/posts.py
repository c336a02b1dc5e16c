"""Posts: one per content task, in a persona's voice."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import DAYS, OWNERS, DrainConfig, Event, drain_days, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.posts import CODE_VERSION, job

_RANGE = """ts >= cast(:first AS timestamp) AT TIME ZONE 'UTC'
        AND ts < (cast(:last AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'"""
CHECKS = {
    "every_new_post_has_a_hook": f"SELECT id FROM posts WHERE {_RANGE} AND run_id = :run_id AND btrim(hook) = ''",
    "every_new_post_names_its_generator": f"""
        SELECT id FROM posts WHERE {_RANGE} AND run_id = :run_id AND generator IS NULL""",
    "every_completed_task_has_its_post": """
        SELECT tasks.id FROM tasks WHERE type = 'content.generation' AND status = 'completed'
        AND utc_day(created_at) BETWEEN :first AND :last
        AND NOT EXISTS (SELECT FROM posts WHERE posts.task_id = tasks.id)""",
}
ROWS = f"SELECT utc_day(ts) AS day, count(*) AS rows FROM posts WHERE {_RANGE} GROUP BY 1"


@dg.asset(
    description="One row per post: composed once from its task, never generated again; people may edit it.",
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=["tasks"],
    group_name="posts",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "possible"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.posts,
        {
            "hook": [("tasks", "payload")],
            "body": [("tasks", "payload")],
            "original_input": [("tasks", "payload")],
            "ts": [("tasks", "created_at")],
            "task_id": [("tasks", "id")],
        },
    ),
    check_specs=sentences("posts", CHECKS, blocking=["every_new_post_has_a_hook"]),
    output_required=False,
)
def posts(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[Event]:
    yield from drain_days(context, config, database, job(), CHECKS, rows_per_day=ROWS)
