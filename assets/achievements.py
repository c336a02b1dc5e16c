"""Achievements: one per merged change, scored by named rules."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import DAYS, OWNERS, DrainConfig, Event, drain_days, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.achievements import CODE_VERSION, job

_RANGE = """completed_at >= cast(:first AS timestamp) AT TIME ZONE 'UTC'
        AND completed_at < (cast(:last AS timestamp) + interval '1 day') AT TIME ZONE 'UTC'"""
_SUM = "(SELECT coalesce(sum((rule ->> 'points')::double precision), 0) FROM jsonb_array_elements({rules}) AS rule)"
CHECKS = {
    "impact_score_within_bounds": f"""
        SELECT id FROM achievements WHERE {_RANGE} AND run_id = :run_id
        AND (impact_score IS NULL OR complexity_score IS NULL
        OR impact_score NOT BETWEEN 0 AND 100 OR complexity_score NOT BETWEEN 0 AND 100)""",
    "every_score_is_explained": f"""
        SELECT id FROM achievements WHERE {_RANGE} AND run_id = :run_id
        AND (impact_rules IS NULL OR complexity_rules IS NULL
        OR abs(impact_score - {_SUM.format(rules="impact_rules")}) > 0.01
        OR abs(complexity_score - {_SUM.format(rules="complexity_rules")}) > 0.01)""",
    "no_value_without_quote": f"""
        SELECT id FROM achievements WHERE {_RANGE} AND run_id = :run_id AND business_value IS NOT NULL
        AND business_value <> 'null'::jsonb AND NOT jsonb_path_exists(business_value, '$.**.quote ? (@ != "")')""",
    "one_achievement_per_source_key": f"""
        SELECT source_key FROM achievements WHERE {_RANGE}
        GROUP BY source_key HAVING count(*) > 1""",
}
ROWS = f"SELECT utc_day(completed_at) AS day, count(*) AS rows FROM achievements WHERE {_RANGE} GROUP BY 1"
_EVIDENCE = [("github_deliveries", "body"), ("git_commits", "change"), ("pull_requests", "change")]
_DERIVED = ("title", "description", "category", "impact_score", "complexity_score", "skills", "business_value")


@dg.asset(
    description="One row per merged change, whatever told of it: category, impact and complexity with their rules.",
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=["github_deliveries", "git_commits", "pull_requests", "tasks"],
    group_name="achievements",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "possible"},
    code_version=CODE_VERSION,
    metadata=table_metadata(tables.achievements, dict.fromkeys(_DERIVED, _EVIDENCE)),
    check_specs=sentences("achievements", CHECKS, blocking=["impact_score_within_bounds", "every_score_is_explained"]),
    output_required=False,
)
def achievements(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[Event]:
    yield from drain_days(context, config, database, job(), CHECKS, rows_per_day=ROWS)
