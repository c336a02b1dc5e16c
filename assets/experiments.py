"""Experiments: the statistics of each variant, derived from append-only observations."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import OWNERS, DrainConfig, Event, drain_all, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.experiments import CODE_VERSION, job

observations = dg.AssetSpec(
    "observations",
    description="One row per batch of impressions and successes that was recorded for a variant; append-only.",
    group_name="experiments",
    kinds={"postgres"},
    owners=OWNERS,
    tags={"layer": "input", "pii": "none"},
    metadata=table_metadata(tables.observations),
)

RECOUNTED = 20
CHECKS = {
    "successes_never_exceed_impressions": """
        SELECT variant_id FROM variant_performance WHERE run_id = :run_id
        AND (impressions < 0 OR successes NOT BETWEEN 0 AND impressions)""",
    "unmeasured_variants_claim_nothing": """
        SELECT variant_id FROM variant_performance WHERE run_id = :run_id
        AND (impressions = 0) <> (mean_performance IS NULL)""",
    # Counting again costs the whole history of a variant, so a run has some of its variants counted, other ones each.
    "observations_counted_once": f"""
        SELECT stored.variant_id FROM (
            SELECT variant_id, impressions FROM variant_performance WHERE run_id = :run_id
            ORDER BY md5(variant_id || :run_id) LIMIT {RECOUNTED}
        ) AS stored
        WHERE stored.impressions <> (
            SELECT coalesce(sum(impressions), 0) FROM observations WHERE observations.variant_id = stored.variant_id)
        AND NOT EXISTS (SELECT FROM pending WHERE asset = 'variant_performance'
            AND key = 'variant:' || stored.variant_id)""",
}


@dg.asset(
    description="One row per variant: what was observed of it, its rate and the interval around it; NULL until shown.",
    deps=["observations"],
    group_name="experiments",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.variant_performance,
        {
            "impressions": [("observations", "impressions")],
            "successes": [("observations", "successes")],
            "mean_performance": [("observations", "impressions"), ("observations", "successes")],
            "last_used": [("observations", "observed_at")],
        },
    ),
    check_specs=sentences("variant_performance", CHECKS, blocking=["successes_never_exceed_impressions"]),
    output_required=False,
)
def variant_performance(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[Event]:
    yield from drain_all(context, config, database, job(recount=config.force), CHECKS)
