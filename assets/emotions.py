"""Emotion trajectories: one current arc per post, with its segments and transitions."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import DAYS, OWNERS, DrainConfig, Event, drain_days, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.domain.emotions import EMOTIONS, POLARITIES
from threads_agent_dagster.work.emotions import CODE_VERSION, job

_MEASURED = [f"{name}_avg" for name in EMOTIONS] + [f"sentiment_{name}" for name in POLARITIES]
_OUTSIDE = " OR ".join(f"{name} NOT BETWEEN {-1 if name == 'sentiment_compound' else 0} AND 1" for name in _MEASURED)
_UNEQUAL = " OR ".join(
    f"abs(arc.{name} - segments.{name}) > 1e-6 OR (arc.{name} IS NULL) <> (segments.{name} IS NULL)"
    for name in _MEASURED
)
_MEANS = ", ".join(f"avg({name.removesuffix('_avg')}) AS {name}" for name in _MEASURED)
CHECKS = {
    "scores_within_unit_interval": f"""
        SELECT id FROM emotion_trajectories WHERE day BETWEEN :first AND :last AND run_id = :run_id AND ({_OUTSIDE})""",
    "averages_equal_their_segments": f"""
        SELECT arc.id FROM emotion_trajectories AS arc
        LEFT JOIN LATERAL (SELECT {_MEANS} FROM emotion_segments WHERE trajectory_id = arc.id) AS segments ON true
        WHERE arc.day BETWEEN :first AND :last AND arc.run_id = :run_id AND ({_UNEQUAL})""",
    "every_arc_has_its_segments": """
        SELECT id FROM emotion_trajectories AS arc
        WHERE day BETWEEN :first AND :last AND run_id = :run_id AND segment_count <>
        (SELECT count(*) FROM emotion_segments WHERE trajectory_id = arc.id)""",
    "every_post_has_an_arc_or_a_reason": """
        SELECT posts.id FROM posts WHERE ts >= cast(:first AS timestamp) AT TIME ZONE 'UTC'
        AND ts < (cast(:last AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'
        AND NOT EXISTS (SELECT FROM emotion_trajectories AS arc WHERE arc.post_id = posts.id
            AND (arc.trajectory_type <> 'insufficient' OR arc.reason IS NOT NULL))
        AND NOT EXISTS (SELECT FROM pending WHERE asset = 'emotion_trajectories' AND key = 'post:' || posts.id
            AND dead_at IS NULL)""",
    "one_current_arc_per_post": """
        SELECT post_id FROM emotion_trajectories WHERE day BETWEEN :first AND :last
        GROUP BY post_id HAVING count(*) > 1""",
}
ROWS = "SELECT day, count(*) AS rows FROM emotion_trajectories WHERE day BETWEEN :first AND :last GROUP BY day"


@dg.asset(
    description="One row per post: how its emotions move from segment to segment; `insufficient` with a reason where "
    "the text has no arc.",
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=["posts"],
    group_name="emotions",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.emotion_trajectories,
        {name: [("posts", "hook"), ("posts", "body")] for name in [*_MEASURED, "trajectory_type", "content_hash"]}
        | {"post_id": [("posts", "id")], "day": [("posts", "ts")]},
    ),
    check_specs=sentences(
        "emotion_trajectories", CHECKS, blocking=["scores_within_unit_interval", "averages_equal_their_segments"]
    ),
    output_required=False,
)
def emotion_trajectories(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[Event]:
    made = job(engine=database.engine, run_id=context.run.run_id)
    yield from drain_days(context, config, database, made, CHECKS, rows_per_day=ROWS)
