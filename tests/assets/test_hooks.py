"""The two assets run one after the other, say how many rows they made, and all their checks hold."""

from __future__ import annotations

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from assets.hooks import hook_calibration, hook_predictions
from resources.database import Database

SEED = (
    "INSERT INTO experiments (id, name) SELECT 'e' || n, 'n' FROM generate_series(1, 12) AS n",
    """INSERT INTO variants (variant_id, experiment_id, hook)
       SELECT id || arm, id, CASE arm WHEN 'a' THEN 'Report ' || id ELSE 'You will not guess ' || id END
       FROM experiments, unnest(ARRAY['a', 'b']) AS arm""",
    """INSERT INTO variant_performance (variant_id, dimensions, impressions, successes)
       SELECT variant_id, '{}', 1000, CASE WHEN variant_id LIKE '%b' THEN 60 ELSE 20 END FROM variants""",
)


def test_hooks_are_predicted_and_held_against_their_outcome(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with engine.begin() as connection:
        for statement in SEED:
            connection.execute(text(statement))
    made = dg.materialize([hook_predictions, hook_calibration], resources={"database": Database()})
    assert len(made.get_asset_check_evaluations()) == 5
    assert all(one.passed for one in made.get_asset_check_evaluations())
    predicted, calibrated = (event.materialization.metadata for event in made.get_asset_materialization_events())
    assert (predicted["dagster/row_count"].value, predicted["predicted_experiments"].value) == (24, 12)
    with engine.connect() as connection:
        (overall, *bins) = connection.execute(
            text("SELECT * FROM hook_calibration WHERE counted = 'all' ORDER BY chance_from, chance_to DESC")
        ).all()
        rows = connection.execute(text("SELECT count(*) FROM hook_calibration")).scalar_one()
    assert calibrated["dagster/row_count"].value == rows
    assert (overall.sample, overall.experiments, overall.pairs) == ("unseen", 12, 12)
    assert overall.share_low is not None
    assert sum(one.pairs for one in bins) == 12
