"""Verdicts: what each started experiment says by its frozen plan."""

from collections.abc import Iterator

import dagster as dg

from assets.draining import OWNERS, DrainConfig, Event, drain_all, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.work.verdicts import CODE_VERSION, job

_DECIDES = "verdict IN ('ship', 'roll back', 'no evidence')"
_OF_THIS_RUN = """SELECT stored.experiment_id FROM experiment_verdicts AS stored
        JOIN experiments ON experiments.id = stored.experiment_id WHERE stored.run_id = :run_id"""
GATES = {
    "verdict_from_frozen_plan": f"""{_OF_THIS_RUN} AND stored.verdict <> 'unhealthy'
        AND (experiments.plan_hash IS NULL OR experiments.started_at IS NULL
            OR stored.plan_hash <> experiments.plan_hash)""",
    "sample_ratio_as_planned": f"""{_OF_THIS_RUN} AND stored.verdict <> 'unhealthy'
        AND NOT coalesce(stored.srm_p >= coalesce((experiments.plan->>'srm_alpha')::float, 0.001), false)""",
    "no_decision_below_the_minimum_sample": f"""{_OF_THIS_RUN} AND {_DECIDES}
        AND stored.smallest < coalesce((experiments.plan->>'minimum_sample')::bigint, 0)""",
    "no_verdict_from_stale_data": f"""{_OF_THIS_RUN} AND stored.verdict <> 'unhealthy' AND (stored.stale OR (
            experiments.status = 'running' AND stored.computed_at - make_interval(
                secs => 86400 * coalesce((experiments.plan->>'stale_days')::float, 7)) > (
            SELECT max(last_used) FROM variants JOIN variant_performance USING (variant_id)
            WHERE variants.experiment_id = experiments.id))
            AND NOT (experiments.plan->>'stopping_rule' = 'fixed' AND {_DECIDES}))""",
    "no_peeking_without_sequential": f"""{_OF_THIS_RUN} AND {_DECIDES}
        AND experiments.plan->>'stopping_rule' = 'fixed'
        AND NOT coalesce(stored.smallest >= (experiments.plan->>'horizon')::bigint, false)""",
}
CHECKS = GATES | {
    "every_running_experiment_is_healthy": """
        SELECT stored.experiment_id FROM experiment_verdicts AS stored
        JOIN experiments ON experiments.id = stored.experiment_id
        WHERE status = 'running' AND verdict = 'unhealthy'""",
}


@dg.asset(
    description="One row per started experiment: its verdict in words with reason, rule, plan hash, input version and "
    "what `threads-agent experiments verify` computes again. Broken data give `unhealthy`, no decision.",
    deps=["variant_performance"],
    group_name="verdicts",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.experiment_verdicts,
        {
            name: [("variant_performance", "impressions"), ("variant_performance", "successes")]
            for name in ("verdict", "variant_id", "p_value", "p_value_sequential", "srm_p", "n", "input_version")
        },
    ),
    check_specs=sentences("experiment_verdicts", CHECKS, blocking=list(GATES)),
    output_required=False,
)
def experiment_verdicts(context: dg.AssetExecutionContext, config: DrainConfig, database: Database) -> Iterator[Event]:
    yield from drain_all(context, config, database, job(), CHECKS)
