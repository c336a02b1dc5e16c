"""Hooks: what the model says of hooks that compete, and how that comes true."""

from collections.abc import Iterator

import dagster as dg
from sqlalchemy import text

from assets.draining import OWNERS, Event, check, sentences, table_metadata
from resources.database import Database
from threads_agent_dagster.db import tables
from threads_agent_dagster.db.hooks import COMPETING
from threads_agent_dagster.work.drain import Origin
from threads_agent_dagster.work.hooks import CODE_VERSION, predict, refresh_calibration

PREDICTION_CHECKS = {
    "every_competing_hook_is_predicted": f"""
        SELECT experiment_id FROM ({COMPETING}) AS competing WHERE cardinality(variant_ids) > (
            SELECT count(*) FROM hook_predictions AS stored WHERE stored.experiment_id = competing.experiment_id)""",
    "predictions_are_against_the_mean_of_their_experiment": """
        SELECT experiment_id FROM hook_predictions GROUP BY experiment_id HAVING abs(sum(predicted_logit)) > 1e-6""",
    "one_experiment_has_one_origin": """
        SELECT experiment_id FROM hook_predictions GROUP BY experiment_id
        HAVING count(DISTINCT (sample, model_version, content_hash)) > 1""",
}
CALIBRATION_CHECKS = {
    "bins_hold_all_pairs": """
        SELECT sample || ' ' || counted FROM hook_calibration GROUP BY sample, counted
        HAVING sum(pairs) FILTER (WHERE (chance_from, chance_to) = (0.5, 1))
            IS DISTINCT FROM sum(pairs) FILTER (WHERE (chance_from, chance_to) <> (0.5, 1))""",
    "every_share_lies_in_its_interval": """
        SELECT sample || ' ' || counted || ' ' || chance_from FROM hook_calibration
        WHERE share_right NOT BETWEEN share_low AND share_high OR share_right NOT BETWEEN 0 AND 1""",
}
CHECKS = PREDICTION_CHECKS | CALIBRATION_CHECKS


@dg.asset(
    description="One row per variant whose hook competes with others: the log-odds that the hook model expects of it "
    "against the mean of its experiment, and whether the model knew the experiment. `out of fold`: weights that were "
    "fitted without it; `in sample`: trained on it, so it proves nothing.",
    deps=["posts"],
    group_name="hooks",
    kinds={"python", "postgres", "onnx"},
    owners=OWNERS,
    tags={"layer": "core", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.hook_predictions, {name: [("posts", "body")] for name in ("predicted_logit", "predicted_sd", "sample")}
    ),
    check_specs=sentences("hook_predictions", PREDICTION_CHECKS),
)
def hook_predictions(context: dg.AssetExecutionContext, database: Database) -> Iterator[Event]:
    experiments = predict(database.engine, Origin(context.run.run_id, CODE_VERSION))
    yield _made(database, "hook_predictions", {"predicted_experiments": experiments}, PREDICTION_CHECKS)


@dg.asset(
    description="One row per sample, kind of pairs and range of the predicted chance: how often the hook that was "
    "expected to win did win, with a 95 % interval by experiment, Brier score and log loss.",
    deps=["hook_predictions", "variant_performance"],
    group_name="hooks",
    kinds={"python", "postgres"},
    owners=OWNERS,
    tags={"layer": "mart", "pii": "none"},
    code_version=CODE_VERSION,
    metadata=table_metadata(
        tables.hook_calibration,
        {
            name: [
                ("hook_predictions", "predicted_logit"),
                ("hook_predictions", "predicted_sd"),
                ("variant_performance", "impressions"),
                ("variant_performance", "successes"),
            ]
            for name in ("share_right", "share_low", "share_high", "expected_right", "brier", "log_loss")
        },
    ),
    check_specs=sentences("hook_calibration", CALIBRATION_CHECKS),
)
def hook_calibration(context: dg.AssetExecutionContext, database: Database) -> Iterator[Event]:
    refresh_calibration(database.engine, Origin(context.run.run_id, CODE_VERSION))
    yield _made(database, "hook_calibration", {}, CALIBRATION_CHECKS)


def _made(
    database: Database, table: str, figures: dict[str, int], checks: dict[str, str]
) -> dg.MaterializeResult[None]:
    with database.engine.connect() as connection:
        rows = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    return dg.MaterializeResult(
        metadata=figures | {"dagster/row_count": rows}, check_results=check(database, checks, {})
    )
